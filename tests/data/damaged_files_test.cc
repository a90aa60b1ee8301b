// Every damaged or foreign file gives one line that names it and says what is wrong.
#include <gmock/gmock.h>

#include <bit>

#include "absl/strings/match.h"
#include "core/file.h"
#include "tests/data/data_test_util.h"

namespace muster {
namespace {

using test::BigEndian32;
using test::IdxBytes;
using test::IdxHeader;
using test::TempFolder;
using ::testing::HasSubstr;

const std::string kPng = std::string("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", 16);
const std::string kHtml = "<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n";

void ExpectOneLine(const absl::Status& status, const std::string& file, const std::string& message) {
  EXPECT_TRUE(absl::IsInvalidArgument(status) || absl::IsNotFound(status)) << status;
  EXPECT_THAT(Message(status), HasSubstr(file));
  EXPECT_THAT(Message(status), HasSubstr(message));
  EXPECT_THAT(Message(status), ::testing::Not(HasSubstr("\n")));
}

struct Damaged {
  const char* name;
  const char* file;     // which file is replaced
  std::string bytes;    // by what
  const char* message;  // what is said about it
};
void PrintTo(const Damaged& damaged, std::ostream* out) { *out << damaged.name; }
std::string NameOf(const ::testing::TestParamInfo<Damaged>& info) { return info.param.name; }

// ---- IDX
// -----------------------------------------------------------------------------------------------------------

class DamagedIdx : public ::testing::TestWithParam<Damaged> {};

TEST_P(DamagedIdx, IsRefused) {
  const TempFolder folder;
  folder.Write("x", IdxBytes({3, 2}, {1, 2, 3, 4, 5, 6}));
  folder.Write("y", IdxBytes({3}, {0, 1, 1}));
  folder.Write("tx", IdxBytes({1, 2}, {1, 2}));
  folder.Write("ty", IdxBytes({1}, {1}));
  OptionMap options = {{"train_inputs", folder / "x"},
                       {"train_labels", folder / "y"},
                       {"test_inputs", folder / "tx"},
                       {"test_labels", folder / "ty"},
                       {"classes", int64_t{2}}};
  ASSERT_TRUE(test::Load("idx", options).ok());
  folder.Write(GetParam().file, GetParam().bytes);
  ExpectOneLine(test::Load("idx", options).status(), folder / GetParam().file + ": ", GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, DamagedIdx,
    ::testing::Values(
        Damaged{"empty", "x", "", "is empty; get the file anew"},
        Damaged{"three_bytes", "y", std::string("\0\0\x08", 3), "not an IDX file"},
        Damaged{"html", "x", kHtml, "it looks like an HTML page"},
        Damaged{"png", "x", kPng, "starts with bytes 89504e47 (it looks like a PNG image)"},
        Damaged{"wrong_type", "x", IdxHeader(0x0A, {3, 2}) + "123456", "not an IDX file"},
        Damaged{"header_cut", "x", IdxHeader(0x08, {3, 2}).substr(0, 10), "cut off within the header"},
        Damaged{"many_dimensions", "x", std::string("\0\0\x08\xFF", 4) + std::string(100, 'a'),
                "cut off within the header"},
        Damaged{"truncated", "x", IdxBytes({3, 2}, {1, 2, 3, 4, 5}),
                "promises 3 x 2 elements of 1 bytes, the file holds 5 bytes of data, it is cut off"},
        Damaged{"too_long", "x", IdxBytes({3, 2}, {1, 2, 3, 4, 5, 6, 7}), "7 bytes of data, too many"},
        Damaged{"huge_promise", "x", IdxHeader(0x0E, {0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}) + "x",
                "it is cut off"},
        Damaged{"product_overflows", "x", IdxHeader(0x08, {0x80000000, 0x80000000, 4}), "it is cut off"},
        Damaged{"no_samples", "x", IdxHeader(0x08, {0, 2}), "a dimension is 0"},
        Damaged{"odd_float_bytes", "x", IdxHeader(0x0D, {1, 1}) + "12345", "5 bytes of data"},
        Damaged{"nan", "x",
                IdxHeader(0x0D, {3, 2}) + BigEndian32(0) + BigEndian32(0) + BigEndian32(0) +
                    BigEndian32(std::bit_cast<uint32_t>(std::numeric_limits<float>::quiet_NaN())) +
                    BigEndian32(0) + BigEndian32(0),
                "sample 1 holds nan at element 1"},
        Damaged{"fewer_labels", "y", IdxBytes({2}, {0, 1}), "2 labels for the 3 samples of "},
        Damaged{"label_out_of_range", "y", IdxBytes({3}, {0, 1, 2}),
                "label 2 of sample 2 is not one of 0 to 1"},
        Damaged{"label_negative", "y", IdxHeader(0x09, {3}) + std::string("\0\xFF\0", 3),
                "label -1 of sample 1"},
        Damaged{"float_labels", "y", IdxHeader(0x0D, {3}) + std::string(12, '\0'),
                "holds floating-point numbers"},
        Damaged{"labels_of_two_dimensions", "y", IdxBytes({3, 1}, {0, 1, 1}),
                "are inputs and labels swapped?"},
        Damaged{"inputs_of_one_dimension", "x", IdxBytes({3}, {0, 1, 1}), "are inputs and labels swapped?"},
        Damaged{"other_shape", "tx", IdxBytes({1, 3}, {0, 1, 1}), "samples of 1 x 3, but those of "},
        Damaged{"broken_gzip", "x", "\x1f\x8b\x08 nonsense", "damaged gzip data"}),
    NameOf);

TEST(DamagedIdx, AbsurdLabelsMakeNoClasses) {
  const TempFolder folder;
  folder.Write("x", IdxBytes({1, 1}, {0}));
  folder.Write("y", IdxHeader(0x0C, {1}) + BigEndian32(2000000000));
  const OptionMap options = {{"train_inputs", folder / "x"},
                             {"train_labels", folder / "y"},
                             {"test_inputs", folder / "x"},
                             {"test_labels", folder / "y"}};
  ExpectOneLine(test::Load("idx", options).status(), folder / "y", "too large for a class");
}

TEST(DamagedIdx, TruncatedGzipIsCutOff) {
  const TempFolder folder;
  folder.WriteGzip("x", IdxBytes({100, 4}, std::vector<uint8_t>(400, 7)));
  std::filesystem::resize_file(folder / "x", std::filesystem::file_size(folder / "x") - 6);
  const OptionMap options = {{"train_inputs", folder / "x"},
                             {"train_labels", folder / "x"},
                             {"test_inputs", folder / "x"},
                             {"test_labels", folder / "x"}};
  ExpectOneLine(test::Load("idx", options).status(), folder / "x", "damaged gzip data (cut off");
}

// ---- text
// ----------------------------------------------------------------------------------------------------------

class DamagedCsv : public ::testing::TestWithParam<Damaged> {};

TEST_P(DamagedCsv, IsRefused) {
  const TempFolder folder;
  folder.Write("a", "x,town,y\n1,Ulm,0\n2,Bonn,1\n3,Ulm,0\n");
  folder.Write("b", "x,town,y\n1,Ulm,0\n");
  const bool regression = absl::StartsWith(GetParam().name, "regression");
  const OptionMap options = {{"train", folder / "a"},
                             {"test", folder / "b"},
                             {"target", std::string("y")},
                             {"task", std::string(regression ? "regression" : "classification")}};
  ASSERT_TRUE(test::Load("csv", options).ok());
  folder.Write(GetParam().file, GetParam().bytes);
  ExpectOneLine(test::Load("csv", options).status(), folder / GetParam().file + ": ", GetParam().message);
}

std::string ManyTowns() {
  std::string text = "x,town,y\n";
  for (int i = 0; i < 1001; ++i) absl::StrAppend(&text, "1,town", i, ",", i % 2, "\n");
  return text;
}
std::string ManyClasses() {
  std::string text = "x,town,y\n";
  for (int i = 0; i < 1001; ++i) absl::StrAppend(&text, "1,Ulm,", i, ".5\n");
  return text;
}

INSTANTIATE_TEST_SUITE_P(
    All, DamagedCsv,
    ::testing::Values(
        Damaged{"empty", "a", "", "is empty"},
        Damaged{"header_only", "a", "x,town,y\n\n", "holds no rows of data"},
        Damaged{"html", "a", kHtml, "is not a text file of data (it looks like an HTML page"},
        Damaged{"png", "b", kPng, "is not a text file of data (it looks like a PNG image)"},
        Damaged{"binary", "a", std::string("x,town,y\n1,\0lm,0\n", 17), "it holds binary data"},
        Damaged{"short_row", "a", "x,town,y\n1,Ulm,0\n2,Bonn\n", "line 3 has 2 columns, line 1 has 3"},
        Damaged{"long_row", "b", "x,town,y\n\n1,Ulm,0,9\n", "line 3 has 4 columns"},
        Damaged{"open_quote", "a", "x,town,y\n1,\"Ulm,0\n2,Bonn,1\n", "line 2: a quote is never closed"},
        Damaged{"after_quote", "a", "x,town,y\n1,\"Ulm\"m,0\n", "line 2: text after a closing quote"},
        Damaged{"text_for_a_number", "a", "x,town,y\n1,Ulm,0\n2,Bonn,1\nabc,Ulm,0\n",
                "line 4: column 'x' holds 'abc', not a finite number"},
        Damaged{"nan", "a", "x,town,y\n1,Ulm,0\nnan,Bonn,1\n", "line 3: column 'x' holds 'nan'"},
        Damaged{"too_large", "b", "x,town,y\n1e39,Ulm,0\n", "line 2: column 'x' holds '1e39'"},
        Damaged{"no_header", "a", "1,Ulm,0\n2,Bonn,1\n", "line 1 should name the columns but holds '1'"},
        Damaged{"other_columns", "b", "x,city,y\n1,Ulm,0\n", "its columns are not those of"},
        Damaged{"no_class", "a", "x,town,y\n1,Ulm,0\n2,Bonn,?\n", "line 3: column 'y' has no class"},
        Damaged{"empty_column", "a", "x,town,y\n,Ulm,0\n?,Bonn,1\n", "column 'x' has no values to train on"},
        Damaged{"many_categories", "a", ManyTowns(), "column 'town' has 1002 different values"},
        Damaged{"many_classes", "a", ManyClasses(), "set task: regression"},
        Damaged{"regression_text", "a", "x,town,y\n1,Ulm,0\n2,Bonn,high\n",
                "line 3: column 'y' holds 'high', not a finite number to predict"}),
    NameOf);

TEST(DamagedCsv, UnknownColumnsGetASuggestion) {
  const TempFolder folder;
  folder.Write("a", "income,town,y\n1,Ulm,0\n2,Bonn,1\n");
  OptionMap options = {{"train", folder / "a"}, {"target", std::string("yy")}};
  ExpectOneLine(test::Load("csv", options).status(), folder / "a", "no column 'yy', set data.dataset.target");
  options["target"] = std::string("y");
  options["drop"] = std::vector<std::string>{"incom"};
  ExpectOneLine(test::Load("csv", options).status(), folder / "a", "did you mean 'income'?");
  options = {{"train", folder / "a"}, {"target", std::string("3")}, {"header", false}};
  ExpectOneLine(test::Load("csv", options).status(), folder / "a", "to one of 0 to 2");
  options = {{"train", folder / "a"}, {"target", std::string("y")}, {"delimiter", std::string(";;")}};
  EXPECT_THAT(Message(test::Load("csv", options).status()), HasSubstr("delimiter: must be one character"));
}

class DamagedLibsvm : public ::testing::TestWithParam<Damaged> {};

TEST_P(DamagedLibsvm, IsRefused) {
  const TempFolder folder;
  folder.Write("a", "+1 1:1 2:1\n-1 3:1\n");
  folder.Write("b", "+1 1:1\n");
  const OptionMap options = {{"train", folder / "a"}, {"test", folder / "b"}};
  ASSERT_TRUE(test::Load("libsvm", options).ok());
  folder.Write(GetParam().file, GetParam().bytes);
  ExpectOneLine(test::Load("libsvm", options).status(), folder / GetParam().file + ": ", GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, DamagedLibsvm,
    ::testing::Values(Damaged{"empty", "a", "", "is empty"},
                      Damaged{"only_comments", "a", "# nothing\n\n", "holds no rows"},
                      Damaged{"html", "a", kHtml, "it looks like an HTML page"},
                      Damaged{"png", "a", kPng, "it looks like a PNG image"},
                      Damaged{"text_label", "b", "yes 1:1\n", "line 1: 'yes' is not a finite number"},
                      Damaged{"nan_label", "b", "nan 1:1\n", "line 1: 'nan' is not a finite number"},
                      Damaged{"no_colon", "a", "+1 1:1\n-1 7\n", "line 2: '7' is not index:value"},
                      Damaged{"text_index", "a", "+1 a:1\n", "line 1: 'a:1' is not index:value"},
                      Damaged{"text_value", "a", "+1 1:x\n", "line 1: '1:x' has no finite number"},
                      Damaged{"nan_value", "a", "+1 1:1\n\n-1 1:nan\n",
                              "line 3: '1:nan' has no finite number"},
                      Damaged{"cut_value", "a", "+1 1:1\n-1 1:", "line 2: '1:' has no finite number"},
                      Damaged{"index_zero", "a", "+1 0:1\n", "line 1: '0:1' has an index below 1"},
                      Damaged{"descending", "a", "+1 3:1 2:1\n", "line 1: '2:1' comes after index 3"},
                      Damaged{"absurd_index", "a", "+1 4000000000000:1\n", "too many for a dense table"}),
    NameOf);

// ---- folders
// -------------------------------------------------------------------------------------------------------

TEST(DamagedCifar10, IsRefused) {
  const TempFolder folder;
  const OptionMap options = {{"path", folder.path()}};
  ExpectOneLine(test::Load("cifar10", options).status(), folder.path(), "holds no data_batch*.bin");
  folder.Write("data_batch_1.bin", std::string(3073, '\1') + std::string(3000, '\1'));
  folder.Write("test_batch.bin", std::string(3073, '\1'));
  ExpectOneLine(test::Load("cifar10", options).status(), folder / "data_batch_1.bin",
                "6073 bytes are no whole number of records of 3073 bytes");
  folder.Write("data_batch_1.bin", std::string(3073, '\1') + std::string(3073, 'c'));
  ExpectOneLine(test::Load("cifar10", options).status(), folder / "data_batch_1.bin", "label 99 of record 1");
  folder.Write("data_batch_1.bin", std::string(3073, '\1'));
  EXPECT_TRUE(test::Load("cifar10", options).ok());
  folder.Write("test_batch.bin", kHtml);
  ExpectOneLine(test::Load("cifar10", options).status(), folder / "test_batch.bin",
                "it looks like an HTML page");
}

TEST(MissingFiles, AreNamedWithTheMend) {
  const TempFolder folder;
  const OptionMap none = {{"path", folder / "none"}};
  ExpectOneLine(test::Load("fashion_mnist", none).status(), folder / "none",
                "install Debian's package dataset-fashion-mnist or set data.dataset.path");
  for (const char* name : {"mnist", "ecg", "cifar10"}) {
    ExpectOneLine(test::Load(name, none).status(), folder / "none",
                  "no such folder; correct data.dataset.path");
  }
  for (const char* name : {"mnist", "fashion_mnist"}) {
    ExpectOneLine(test::Load(name, {{"path", folder.path()}}).status(), folder / "train-images-idx3-ubyte",
                  "neither it nor train-images-idx3-ubyte.gz is there");
  }
  ExpectOneLine(test::Load("libsvm", {{"train", folder / "none"}}).status(), folder / "none", "no such file");
  ExpectOneLine(test::Load("libsvm", {{"train", folder.path()}}).status(), folder.path(), "is a folder");
}

}  // namespace
}  // namespace muster

#include "learning/datasets/idx_file.h"

#include <algorithm>
#include <bit>
#include <type_traits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "learning/datasets/data_file.h"

namespace muster {
namespace {

// More classes than this come from a damaged label rather than from a classification task.
constexpr int64_t kMaxClasses = 100000;

template <typename T>
T BigEndian(const char* bytes) {
  using Bits = std::conditional_t<
      sizeof(T) == 1, uint8_t,
      std::conditional_t<sizeof(T) == 2, uint16_t, std::conditional_t<sizeof(T) == 4, uint32_t, uint64_t>>>;
  uint64_t bits = 0;
  for (size_t i = 0; i < sizeof(T); ++i) bits = bits << 8 | static_cast<uint8_t>(bytes[i]);
  return std::bit_cast<T>(static_cast<Bits>(bits));
}

size_t ElementSize(uint8_t type) {
  switch (type) {
    case 0x08:
    case 0x09:
      return 1;
    case 0x0B:
      return 2;
    case 0x0C:
    case 0x0D:
      return 4;
    case 0x0E:
      return 8;
    default:
      return 0;
  }
}

bool IsInteger(uint8_t type) { return type < 0x0D; }

template <typename T, typename Out>
void Convert(std::string_view from, size_t first, size_t step, std::vector<Out>& to) {
  for (size_t at = first * sizeof(T); at < from.size(); at += step * sizeof(T)) {
    to.push_back(static_cast<Out>(BigEndian<T>(from.data() + at)));
  }
}

// Every `step`-th element from `first` on.
template <typename Out>
std::vector<Out> Elements(const IdxArray& array, size_t first = 0, size_t step = 1) {
  const std::string_view from = array.elements();
  std::vector<Out> to;
  to.reserve(from.size() / ElementSize(array.type) / step);
  switch (array.type) {
    case 0x08:
      Convert<uint8_t>(from, first, step, to);
      break;
    case 0x09:
      Convert<int8_t>(from, first, step, to);
      break;
    case 0x0B:
      Convert<int16_t>(from, first, step, to);
      break;
    case 0x0C:
      Convert<int32_t>(from, first, step, to);
      break;
    case 0x0D:
      Convert<float>(from, first, step, to);
      break;
    default:
      Convert<double>(from, first, step, to);
  }
  return to;
}

absl::StatusOr<IdxArray> ParseIdx(const std::string& path, std::string bytes) {
  const auto byte = [&bytes](size_t i) { return static_cast<uint8_t>(bytes[i]); };
  if (bytes.size() < 4 || byte(0) != 0 || byte(1) != 0 || ElementSize(byte(2)) == 0 || byte(3) == 0) {
    return InvalidInput(absl::StrCat(path, ": not an IDX file, it starts with bytes ",
                                     absl::BytesToHexString(bytes.substr(0, 4)), LooksLike(bytes),
                                     "; give a file in the format of MNIST"));
  }
  IdxArray array{path, byte(2), {}, {}};
  const size_t dimensions = byte(3), header = 4 + 4 * dimensions;
  if (bytes.size() < header) {
    return InvalidInput(absl::StrCat(path, ": cut off within the header; get the file anew"));
  }
  const size_t present = (bytes.size() - header) / ElementSize(array.type);
  size_t promised = 1;
  bool fits = true;  // false once the product is beyond what is there, which also keeps it from overflowing
  for (size_t d = 0; d < dimensions; ++d) {
    const auto side = BigEndian<uint32_t>(bytes.data() + 4 + 4 * d);
    if (side == 0)
      return InvalidInput(absl::StrCat(path, ": the header says a dimension is 0; get the file anew"));
    fits = fits && promised <= present / side;
    if (fits) promised *= side;
    array.shape.push_back(side);
  }
  if (!fits || promised * ElementSize(array.type) != bytes.size() - header) {
    return InvalidInput(absl::StrCat(path, ": the header promises ", absl::StrJoin(array.shape, " x "),
                                     " elements of ", ElementSize(array.type), " bytes, the file holds ",
                                     bytes.size() - header, " bytes of data",
                                     fits ? ", too many" : ", it is cut off", "; get the file anew"));
  }
  array.bytes = std::move(bytes);
  return array;
}

absl::StatusOr<std::vector<int64_t>> TextIds(const std::string& path) {
  MUSTER_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  std::vector<int64_t> ids;
  int64_t number = 0;
  for (size_t start = 0; start < text.size();) {
    const size_t end = std::min(text.find('\n', start), text.size());
    const std::string_view line = Trim(std::string_view(text).substr(start, end - start));
    start = end + 1;
    ++number;
    if (line.empty() && start >= text.size()) break;  // a last empty line
    int64_t id = 0;
    if (!ParseInteger(line, id)) {
      return InvalidInput(absl::StrCat(path, ": line ", number, " holds ", Quote(line),
                                       ", not an integer; write one integer per sample and line"));
    }
    ids.push_back(id);
  }
  return ids;
}

// Inputs and labels; num_classes is set by the caller, who knows both parts.
absl::StatusOr<Dataset> ReadPart(const IdxFiles& files) {
  MUSTER_ASSIGN_OR_RETURN(const IdxArray inputs, ReadIdx(files.inputs));
  const std::vector<int64_t>& shape = inputs.shape;
  if (shape.size() < 2 || shape.size() > 4) {
    return InvalidInput(
        absl::StrCat(inputs.path, ": has ", shape.size(),
                     " dimension(s), samples need 2 to 4: signals [N, L], images [N, H, W] or ",
                     "[N, C, H, W]; are inputs and labels swapped?"));
  }
  Dataset part;
  part.sample_shape.assign(shape.begin() + 1, shape.end());
  if (shape.size() < 4) part.sample_shape.insert(part.sample_shape.begin(), 1);
  if (inputs.type == 0x08) {
    AppendScaled(inputs.elements(), part.inputs);
  } else {
    part.inputs = Elements<float>(inputs);
  }
  MUSTER_ASSIGN_OR_RETURN(const IdxArray labels, ReadIdx(files.labels));
  if (labels.shape.size() != 1) {
    return InvalidInput(absl::StrCat(labels.path, ": has ", labels.shape.size(),
                                     " dimensions, labels need 1; are inputs and labels swapped?"));
  }
  MUSTER_ASSIGN_OR_RETURN(part.labels, IdxColumn(labels, -1));
  if (labels.shape[0] != shape[0]) {
    return InvalidInput(absl::StrCat(labels.path, ": ", labels.shape[0], " labels for the ", shape[0],
                                     " samples of ", inputs.path, "; give two files that belong together"));
  }
  return part;
}

// The number of classes that the largest label asks for.
absl::StatusOr<int64_t> CountClasses(const Dataset& part, const std::string& labels_path) {
  const auto largest = std::max_element(part.labels.begin(), part.labels.end());
  if (*largest < kMaxClasses) return *largest + 1;
  return InvalidInput(absl::StrCat(labels_path, ": label ", *largest, " of sample ",
                                   largest - part.labels.begin(),
                                   " is too large for a class; give a file of class labels"));
}

}  // namespace

absl::StatusOr<IdxArray> ReadIdx(const std::string& path) {
  MUSTER_ASSIGN_OR_RETURN(std::string bytes, ReadDataFile(path));
  return ParseIdx(path, std::move(bytes));
}

absl::StatusOr<std::vector<int64_t>> IdxColumn(const IdxArray& array, int64_t column) {
  if (!IsInteger(array.type)) {
    return InvalidInput(absl::StrCat(array.path, ": holds floating-point numbers where integers are needed; ",
                                     "store them as unsigned byte or int"));
  }
  if (array.shape.size() == 1 && column < 0) return Elements<int64_t>(array);
  if (array.shape.size() != 2 || column < 0 || column >= array.shape[1]) {
    return InvalidInput(absl::StrCat(array.path, ": has shape ", absl::StrJoin(array.shape, " x "),
                                     column < 0
                                         ? "; name one of its columns"
                                         : absl::StrCat(", there is no column ", column, "; name another")));
  }
  return Elements<int64_t>(array, static_cast<size_t>(column), static_cast<size_t>(array.shape[1]));
}

absl::StatusOr<std::vector<int64_t>> ReadIds(const std::string& path, int64_t column, int64_t samples) {
  MUSTER_ASSIGN_OR_RETURN(std::string bytes, ReadDataFile(path));
  std::vector<int64_t> ids;
  if (bytes[0] == '\0') {
    MUSTER_ASSIGN_OR_RETURN(const IdxArray array, ParseIdx(path, std::move(bytes)));
    MUSTER_ASSIGN_OR_RETURN(ids, IdxColumn(array, column));
  } else {
    MUSTER_ASSIGN_OR_RETURN(ids, TextIds(path));
  }
  if (static_cast<int64_t>(ids.size()) != samples) {
    return InvalidInput(
        absl::StrCat(path, ": ", ids.size(), " ids for ", samples, " samples; there must be one per sample"));
  }
  return ids;
}

absl::StatusOr<TrainTest> ReadIdxDataset(const IdxFiles& train, const IdxFiles& test, int64_t classes) {
  TrainTest data;
  MUSTER_ASSIGN_OR_RETURN(data.train, ReadPart(train));
  MUSTER_ASSIGN_OR_RETURN(data.test, ReadPart(test));
  if (data.test.sample_shape != data.train.sample_shape) {
    return InvalidInput(absl::StrCat(test.inputs, ": samples of ",
                                     absl::StrJoin(data.test.sample_shape, " x "), ", but those of ",
                                     train.inputs, " are of ", absl::StrJoin(data.train.sample_shape, " x "),
                                     "; give two files of one shape"));
  }
  if (classes == 0) {
    MUSTER_ASSIGN_OR_RETURN(const int64_t train_classes, CountClasses(data.train, train.labels));
    MUSTER_ASSIGN_OR_RETURN(const int64_t test_classes, CountClasses(data.test, test.labels));
    classes = std::max({int64_t{1}, train_classes, test_classes});
  }
  data.train.num_classes = data.test.num_classes = classes;
  // A label is named with the file of labels, an input with the file of inputs.
  for (const auto& [part, files] : {std::pair(&data.train, &train), std::pair(&data.test, &test)}) {
    const bool labels_good = std::all_of(part->labels.begin(), part->labels.end(),
                                         [classes](int64_t label) { return label >= 0 && label < classes; });
    MUSTER_RETURN_IF_ERROR(CheckDataset(*part, labels_good ? files->inputs : files->labels));
  }
  return data;
}

}  // namespace muster

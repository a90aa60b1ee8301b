// Tables in CSV files: numeric columns as they are, other columns one-hot encoded.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "learning/datasets/csv_table.h"
#include "learning/datasets/data_file.h"

namespace muster {
namespace {

// More classes or categories than this are numbers, names or keys in the wrong place.
constexpr size_t kMaxValues = 1000;

struct CsvOptions {
  std::string train;
  std::string test;
  double test_fraction = 0.2;
  int64_t split_seed = 0;
  std::string delimiter = ",";
  bool header = true;
  int64_t skip_lines = 0;
  int64_t test_skip_lines = 0;
  std::string target;
  std::string task = "classification";
  double target_scale = 1;
  std::vector<std::string> categorical;
  std::vector<std::string> drop;
  std::string missing = "?";
  std::string group;
};

struct Row {
  const CsvTable* table;
  int64_t row;

  std::string_view cell(int64_t column) const { return table->cell(row, column); }
  std::string Where(int64_t column) const {
    return absl::StrCat(table->Where(row), ": column '", table->names()[column], "'");
  }
};

struct Rows {
  std::vector<Row> train;
  std::vector<Row> test;

  template <typename Visit>
  void ForEach(Visit visit) const {
    for (const Row& row : train) visit(row);
    for (const Row& row : test) visit(row);
  }
};

using Values = std::map<std::string_view, int64_t>;  // a column's values and their numbers in ascending order

void Number(Values& values) {
  int64_t next = 0;
  for (auto& [value, number] : values) number = next++;
}

// How a column becomes inputs: one for each of `categories`, or a single number if there are none.
struct Encoding {
  int64_t column = 0;
  Values categories;
  double mean = 0;  // stands for missing numbers

  int64_t width() const { return categories.empty() ? 1 : static_cast<int64_t>(categories.size()); }
};

class Csv final : public DatasetLoader {
 public:
  static absl::StatusOr<std::unique_ptr<DatasetLoader>> Create(const CsvOptions& options,
                                                               const Context& context) {
    if (options.delimiter != "tab" &&
        (options.delimiter.size() != 1 || options.delimiter[0] == '"' || options.delimiter[0] == '\n')) {
      return InvalidInput("delimiter: must be one character (not a quote), or 'tab'");
    }
    return std::make_unique<Csv>(options, context);
  }
  Csv(const CsvOptions& options, const Context& context) : options_(options), folder_(context.folder) {}

  absl::StatusOr<TrainTest> Load() const override {
    CsvFormat format{options_.delimiter == "tab" ? '\t' : options_.delimiter[0], options_.header,
                     options_.skip_lines};
    MUSTER_ASSIGN_OR_RETURN(const CsvTable table, CsvTable::Read(PathIn(folder_, options_.train), format));
    Rows rows;
    if (options_.test.empty()) {
      MUSTER_ASSIGN_OR_RETURN(const HeldOut parts, HoldOut(table.rows(), options_.test_fraction,
                                                           options_.split_seed, table.path()));
      for (const int64_t row : parts.train) rows.train.push_back({&table, row});
      for (const int64_t row : parts.test) rows.test.push_back({&table, row});
      return Encode(table, rows);
    }
    format.skip_lines = options_.test_skip_lines;
    MUSTER_ASSIGN_OR_RETURN(const CsvTable test, CsvTable::Read(PathIn(folder_, options_.test), format));
    if (test.names() != table.names()) {
      return InvalidInput(absl::StrCat(test.path(), ": its columns are not those of ", table.path(),
                                       "; give two files with the same columns"));
    }
    for (int64_t row = 0; row < table.rows(); ++row) rows.train.push_back({&table, row});
    for (int64_t row = 0; row < test.rows(); ++row) rows.test.push_back({&test, row});
    return Encode(table, rows);
  }

 private:
  absl::StatusOr<TrainTest> Encode(const CsvTable& table, const Rows& rows) const {
    MUSTER_ASSIGN_OR_RETURN(const int64_t target, ColumnOf(table, options_.target, "target"));
    MUSTER_ASSIGN_OR_RETURN(const std::vector<Encoding> encodings, FindEncodings(table, rows, target));
    int64_t width = 0;
    for (const Encoding& encoding : encodings) width += encoding.width();
    MUSTER_RETURN_IF_ERROR(CheckDenseSize(table.rows(), width, table.path()));
    TrainTest data;
    for (const auto& [part, part_rows] :
         {std::pair(&data.train, &rows.train), std::pair(&data.test, &rows.test)}) {
      part->sample_shape = {width};
      FillInputs(encodings, *part_rows, width, part->inputs);
    }
    if (options_.task == "regression") {
      MUSTER_RETURN_IF_ERROR(ReadValues(rows.train, target, data.train.values));
      MUSTER_RETURN_IF_ERROR(ReadValues(rows.test, target, data.test.values));
    } else {
      MUSTER_RETURN_IF_ERROR(ReadClasses(rows, target, data));
    }
    if (!options_.group.empty()) {
      MUSTER_ASSIGN_OR_RETURN(const int64_t group, ColumnOf(table, options_.group, "group"));
      ReadGroups(rows, group, data);
    }
    MUSTER_RETURN_IF_ERROR(CheckDataset(data.train, table.path()));
    MUSTER_RETURN_IF_ERROR(CheckDataset(data.test, rows.test[0].table->path()));
    return data;
  }

  // A column by name or by 0-based index.
  absl::StatusOr<int64_t> ColumnOf(const CsvTable& table, const std::string& name, const char* option) const {
    const auto found = std::find(table.names().begin(), table.names().end(), name);
    if (found != table.names().end()) return found - table.names().begin();
    int64_t index = 0;
    if (ParseInteger(name, index) && index >= 0 && index < table.columns()) return index;
    return InvalidInput(
        absl::StrCat(table.path(), ": has no column ", Quote(name), ", set data.dataset.", option,
                     table.has_header() ? Suggestion(name, table.names())
                                        : absl::StrCat(" to one of 0 to ", table.columns() - 1)));
  }

  bool IsMissing(std::string_view cell) const { return cell.empty() || cell == options_.missing; }
  // A missing value is one value, however it is written.
  std::string_view Category(std::string_view cell) const {
    return IsMissing(cell) ? std::string_view(options_.missing) : cell;
  }

  absl::StatusOr<std::vector<Encoding>> FindEncodings(const CsvTable& table, const Rows& rows,
                                                      int64_t target) const {
    std::vector<bool> dropped(table.columns()), listed(table.columns());
    bool find_out = options_.categorical.empty();
    for (const std::string& name : options_.drop) {
      MUSTER_ASSIGN_OR_RETURN(const int64_t column, ColumnOf(table, name, "drop"));
      dropped[column] = true;
    }
    for (const std::string& name : options_.categorical) {
      if (name == "auto") {
        find_out = true;
        continue;
      }
      MUSTER_ASSIGN_OR_RETURN(const int64_t column, ColumnOf(table, name, "categorical"));
      listed[column] = true;
    }
    std::vector<Encoding> encodings;
    for (int64_t column = 0; column < table.columns(); ++column) {
      if (column == target || dropped[column]) continue;
      MUSTER_ASSIGN_OR_RETURN(Encoding encoding, FindEncoding(rows, column, listed[column], find_out));
      encodings.push_back(std::move(encoding));
    }
    if (encodings.empty()) return InvalidInput(absl::StrCat(table.path(), ": no column is left as input"));
    return encodings;
  }

  absl::StatusOr<Encoding> FindEncoding(const Rows& rows, int64_t column, bool categorical,
                                        bool find_out) const {
    Encoding encoding{column, {}, 0};
    int64_t numbers = 0, texts = 0, train_numbers = 0;
    double sum = 0;
    Row first_text{};
    double value = 0;
    if (!categorical) {
      rows.ForEach([&](const Row& row) {
        if (IsMissing(row.cell(column))) return;
        if (ParseNumber(row.cell(column), value)) {
          ++numbers;
        } else if (texts++ == 0) {
          first_text = row;
        }
      });
      // One odd cell among numbers is damage, not a category.
      if (texts > 0 && (!find_out || texts <= numbers)) {
        return InvalidInput(absl::StrCat(
            first_text.Where(column), " holds ", Quote(first_text.cell(column)),
            ", not a finite number; mend it, or ", "name the column in data.dataset.categorical or drop",
            first_text.row == 0 && !options_.header ? ", or set header: true if this line is one" : ""));
      }
    }
    if (categorical || texts > 0) {
      rows.ForEach([&](const Row& row) { encoding.categories.emplace(Category(row.cell(column)), 0); });
      Number(encoding.categories);
      if (encoding.categories.size() <= kMaxValues) return encoding;
      return InvalidInput(absl::StrCat(rows.train[0].table->path(), ": column '",
                                       rows.train[0].table->names()[column], "' has ",
                                       encoding.categories.size(), " different values, more than ",
                                       kMaxValues, " to one-hot encode; name it in data.dataset.drop"));
    }
    for (const Row& row : rows.train) {
      if (IsMissing(row.cell(column)) || !ParseNumber(row.cell(column), value)) continue;
      sum += value;
      ++train_numbers;
    }
    if (train_numbers == 0) {
      return InvalidInput(absl::StrCat(rows.train[0].table->path(), ": column '",
                                       rows.train[0].table->names()[column],
                                       "' has no values to train on; name it in data.dataset.drop"));
    }
    encoding.mean = sum / static_cast<double>(train_numbers);
    return encoding;
  }

  void FillInputs(const std::vector<Encoding>& encodings, const std::vector<Row>& rows, int64_t width,
                  std::vector<float>& inputs) const {
    inputs.assign(rows.size() * width, 0);
    float* out = inputs.data();
    for (const Row& row : rows) {
      for (const Encoding& encoding : encodings) {
        const std::string_view cell = row.cell(encoding.column);
        if (!encoding.categories.empty()) {
          out[encoding.categories.at(Category(cell))] = 1;
        } else {
          double value = encoding.mean;
          if (!IsMissing(cell)) ParseNumber(cell, value);
          *out = static_cast<float>(value);
        }
        out += encoding.width();
      }
    }
  }

  absl::Status ReadValues(const std::vector<Row>& rows, int64_t target, std::vector<float>& values) const {
    for (const Row& row : rows) {
      double value = 0;
      if (!ParseNumber(row.cell(target), value)) {
        return InvalidInput(
            absl::StrCat(row.Where(target), " holds ", Quote(row.cell(target)),
                         ", not a finite number to predict; mend it or set task: classification"));
      }
      values.push_back(static_cast<float>(value / options_.target_scale));
    }
    return absl::OkStatus();
  }

  // UCI's test files end their class names in a full stop.
  static std::string_view ClassName(std::string_view cell) {
    return cell.size() > 1 && cell.back() == '.' ? cell.substr(0, cell.size() - 1) : cell;
  }

  absl::Status ReadClasses(const Rows& rows, int64_t target, TrainTest& data) const {
    Values texts;
    const Row* missing = nullptr;
    rows.ForEach([&](const Row& row) {
      if (IsMissing(row.cell(target)) && missing == nullptr) missing = &row;
      texts.emplace(ClassName(row.cell(target)), 0);
    });
    if (missing != nullptr) {
      return InvalidInput(absl::StrCat(missing->Where(target), " has no class; mend or remove the line"));
    }
    if (texts.size() > kMaxValues) {
      return InvalidInput(absl::StrCat(rows.train[0].table->path(), ": column '",
                                       rows.train[0].table->names()[target], "' has ", texts.size(),
                                       " different values, more than ", kMaxValues,
                                       " classes; set task: regression or another target"));
    }
    // Numbers in the order of numbers, anything else in the order of the alphabet.
    std::vector<std::pair<double, std::string_view>> order;
    for (const auto& [text, number] : texts) {
      double value = 0;
      if (ParseNumber(text, value)) order.emplace_back(value, text);
    }
    Number(texts);
    if (order.size() == texts.size()) {
      std::sort(order.begin(), order.end());
      for (size_t i = 0; i < order.size(); ++i) texts[order[i].second] = static_cast<int64_t>(i);
    }
    std::vector<std::string> names(texts.size());
    for (const auto& [text, number] : texts) names[number] = std::string(text);
    for (const auto& [part, part_rows] :
         {std::pair(&data.train, &rows.train), std::pair(&data.test, &rows.test)}) {
      part->num_classes = static_cast<int64_t>(names.size());
      part->class_names = names;
      for (const Row& row : *part_rows) part->labels.push_back(texts.at(ClassName(row.cell(target))));
    }
    return absl::OkStatus();
  }

  // Integers are ids themselves; other values are numbered in ascending order.
  void ReadGroups(const Rows& rows, int64_t group, TrainTest& data) const {
    Values values;
    rows.ForEach([&](const Row& row) { values.emplace(Category(row.cell(group)), 0); });
    Number(values);
    const bool integers = std::all_of(values.begin(), values.end(), [](const auto& entry) {
      int64_t id = 0;
      return ParseInteger(entry.first, id);
    });
    if (integers) {
      for (auto& [text, id] : values) ParseInteger(text, id);
    }
    for (const auto& [part, part_rows] :
         {std::pair(&data.train, &rows.train), std::pair(&data.test, &rows.test)}) {
      std::vector<int64_t>& ids = part->groups[options_.group];
      for (const Row& row : *part_rows) ids.push_back(values.at(Category(row.cell(group))));
    }
  }

  const CsvOptions options_;
  const std::string folder_;
};

MUSTER_REGISTER(
    DatasetLoader,
    Plugin<CsvOptions>("csv", "A table in a CSV file, plain or gzip; text columns are one-hot encoded",
                       "RFC 4180")
        .Required("train", &CsvOptions::train, "training file", FilePath())
        .Option("test", &CsvOptions::test, "test file; without one a part of the training file is held out",
                FilePath())
        .Option("test_fraction", &CsvOptions::test_fraction,
                "share held out for testing if there is no test file",
                Allowed{.min = 0, .max = 1, .above_min = true, .below_max = true})
        .Option("split_seed", &CsvOptions::split_seed, "which rows are held out", AtLeast(0))
        .Option("delimiter", &CsvOptions::delimiter, "one character, or 'tab'")
        .Option("header", &CsvOptions::header, "the first line names the columns")
        .Option("skip_lines", &CsvOptions::skip_lines, "lines to pass over at the start of the training file",
                AtLeast(0))
        .Option("test_skip_lines", &CsvOptions::test_skip_lines,
                "lines to pass over at the start of the test file", AtLeast(0))
        .Required("target", &CsvOptions::target,
                  "column to predict: its name, or its 0-based index as text (target: \"14\")")
        .Option("task", &CsvOptions::task, "what the target is", OneOf({"classification", "regression"}))
        .Option("target_scale", &CsvOptions::target_scale, "regression targets are divided by this", Above(0))
        .Option("categorical", &CsvOptions::categorical,
                "columns to one-hot encode; 'auto' or nothing: every column that is not numeric")
        .Option("drop", &CsvOptions::drop, "columns to leave out")
        .Option("missing", &CsvOptions::missing,
                "marks a missing value, as an empty cell does: a category of its own, or the column's "
                "training mean")
        .Option("group", &CsvOptions::group, "column of natural clients, kept as an input unless dropped")
        .Make<Csv>());

}  // namespace
}  // namespace muster

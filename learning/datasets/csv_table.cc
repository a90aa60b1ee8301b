#include "learning/datasets/csv_table.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "learning/datasets/data_file.h"

namespace muster {

absl::StatusOr<CsvTable> CsvTable::Read(const std::string& path, const CsvFormat& format) {
  CsvTable table;
  table.path_ = path;
  MUSTER_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  table.text_.assign(text.begin(), text.end());
  MUSTER_RETURN_IF_ERROR(table.Parse(format));
  MUSTER_RETURN_IF_ERROR(table.TakeHeader(format));
  if (table.rows() == 0)
    return InvalidInput(absl::StrCat(path, ": holds no rows of data; get the file anew"));
  return table;
}

std::string CsvTable::Where(int64_t row) const { return absl::StrCat(path_, ": line ", lines_[row]); }

absl::Status CsvTable::Parse(const CsvFormat& format) {
  const std::string_view text(text_.data(), text_.size());
  size_t at = 0;
  int64_t line = 1;
  for (int64_t skipped = 0; skipped < format.skip_lines && at < text.size(); ++skipped, ++line) {
    at = std::min(text.find('\n', at), text.size() - 1) + 1;
  }
  const char ends[] = {format.delimiter, '\n'};
  const auto skip_blanks = [&] {
    while (at < text.size() && (text[at] == ' ' || text[at] == '\t' || text[at] == '\r') &&
           text[at] != format.delimiter) {
      ++at;
    }
  };
  while (at < text.size()) {
    const size_t first_cell = cells_.size();
    const int64_t first_line = line;
    bool quoted = false;
    for (bool row_ends = false; !row_ends;) {
      skip_blanks();
      if (at < text.size() && text[at] == '"') {
        quoted = true;
        std::string& cell = unquoted_.emplace_back();
        for (++at;; ++at) {
          if (at == text.size()) {
            return InvalidInput(
                absl::StrCat(path_, ": line ", first_line, ": a quote is never closed; mend the line"));
          }
          if (text[at] == '"' && (at + 1 == text.size() || text[at + 1] != '"')) break;
          if (text[at] == '"') ++at;  // "" stands for one quote
          line += text[at] == '\n';
          cell += text[at];
        }
        ++at;
        skip_blanks();
        if (at < text.size() && text[at] != format.delimiter && text[at] != '\n') {
          return InvalidInput(
              absl::StrCat(path_, ": line ", line, ": text after a closing quote; mend the line"));
        }
        cells_.push_back(cell);
      } else {
        const size_t end = std::min(text.find_first_of(std::string_view(ends, 2), at), text.size());
        cells_.push_back(Trim(text.substr(at, end - at)));
        at = end;
      }
      row_ends = at == text.size() || text[at] == '\n';
      // A delimiter that ends the file still has an empty cell after it, which the next turn takes.
      if (at < text.size()) ++at;
    }
    ++line;
    const auto cells = static_cast<int64_t>(cells_.size() - first_cell);
    if (cells == 1 && cells_.back().empty() && !quoted) {
      cells_.pop_back();
      continue;
    }
    if (lines_.empty()) columns_ = cells;
    if (cells != columns_) {
      return InvalidInput(absl::StrCat(path_, ": line ", first_line, " has ", cells, " columns, line ",
                                       lines_[0], " has ", columns_, "; mend the line or set the delimiter"));
    }
    lines_.push_back(first_line);
  }
  return absl::OkStatus();
}

absl::Status CsvTable::TakeHeader(const CsvFormat& format) {
  has_header_ = format.header;
  if (!format.header) {
    for (int64_t c = 0; c < columns_; ++c) names_.push_back(absl::StrCat(c));
    return absl::OkStatus();
  }
  if (lines_.empty()) return absl::OkStatus();
  for (int64_t c = 0; c < columns_; ++c) {
    double number = 0;
    if (ParseNumber(cells_[c], number)) {
      return InvalidInput(absl::StrCat(path_, ": line ", lines_[0], " should name the columns but holds ",
                                       Quote(cells_[c]), "; set header: false if the file has no header"));
    }
    names_.emplace_back(cells_[c]);
  }
  cells_.erase(cells_.begin(), cells_.begin() + columns_);
  lines_.erase(lines_.begin());
  return absl::OkStatus();
}

}  // namespace muster

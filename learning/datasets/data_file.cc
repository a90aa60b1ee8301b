#include "learning/datasets/data_file.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <limits>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/file.h"
#include "core/random.h"

namespace muster {
namespace {

constexpr int64_t kMaxDenseElements = int64_t{1} << 31;  // 8 GiB of float32

template <typename T>
bool ParseWhole(std::string_view text, T& value) {
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

std::string PathIn(const std::string& folder, const std::string& path) {
  return (std::filesystem::path(folder) / path).string();
}

absl::Status RequireFolder(const std::string& path, const std::string& mend) {
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(path, ": no such folder; ", mend));
}

std::string FindInFolder(const std::string& folder, const std::string& name) {
  std::error_code error;
  for (const char* ending : {"", ".gz"}) {
    std::string path = PathIn(folder, name + ending);
    if (std::filesystem::exists(path, error)) return path;
  }
  return "";
}

absl::StatusOr<std::string> RequireInFolder(const std::string& folder, const std::string& name) {
  std::string path = FindInFolder(folder, name);
  if (!path.empty()) return path;
  return absl::NotFoundError(absl::StrCat(PathIn(folder, name), ": neither it nor ", name,
                                          ".gz is there; complete the folder or correct ",
                                          "data.dataset.path"));
}

absl::StatusOr<std::string> ReadDataFile(const std::string& path) {
  absl::StatusOr<std::string> bytes = ReadMaybeGzip(path);
  if (absl::IsNotFound(bytes.status())) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file; correct the path in data.dataset"));
  }
  if (bytes.ok() && bytes->empty()) return InvalidInput(absl::StrCat(path, ": is empty; get the file anew"));
  return bytes;
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  MUSTER_ASSIGN_OR_RETURN(std::string text, ReadDataFile(path));
  const std::string foreign = LooksLike(text);
  if (!foreign.empty() || text.find('\0') != std::string::npos) {
    return InvalidInput(absl::StrCat(path, ": is not a text file of data",
                                     foreign.empty() ? " (it holds binary data)" : foreign,
                                     "; get the file anew or correct its path"));
  }
  if (absl::StartsWith(text, "\xEF\xBB\xBF")) text.erase(0, 3);
  return text;
}

std::string LooksLike(std::string_view bytes) {
  struct Kind {
    std::string_view start;
    const char* name;
  };
  static constexpr Kind kKinds[] = {{"\x89PNG", "a PNG image"},
                                    {"\xFF\xD8\xFF", "a JPEG image"},
                                    {"GIF8", "a GIF image"},
                                    {"PK\x03\x04", "a ZIP archive"},
                                    {"%PDF", "a PDF document"},
                                    {"\x28\xB5\x2F\xFD", "zstd-packed data"},
                                    {"\xFD"
                                     "7zXZ",
                                     "xz-packed data"},
                                    {"\x1F\x8B", "twice gzip-packed data"}};
  for (const Kind& kind : kKinds) {
    if (bytes.substr(0, kind.start.size()) == kind.start)
      return absl::StrCat(" (it looks like ", kind.name, ")");
  }
  const size_t start = std::min(bytes.find_first_not_of(" \t\r\n"), bytes.size());
  const absl::string_view text(bytes.data() + start, std::min<size_t>(bytes.size() - start, 64));
  for (const char* tag : {"<!doctype", "<html", "<?xml", "<head", "<svg"}) {
    if (absl::StartsWithIgnoreCase(text, tag))
      return " (it looks like an HTML page, as a failed download leaves)";
  }
  return "";
}

bool ParseNumber(std::string_view text, double& value) {
  return ParseWhole(text, value) && std::fabs(value) <= std::numeric_limits<float>::max();
}

bool ParseInteger(std::string_view text, int64_t& value) { return ParseWhole(text, value); }

std::string_view Trim(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t\r");
  if (start == std::string_view::npos) return {};
  return text.substr(start, text.find_last_not_of(" \t\r") - start + 1);
}

std::string Quote(std::string_view text) {
  constexpr size_t kReadable = 40;
  std::string quoted = "'";
  for (const char c : text.substr(0, kReadable)) quoted += c >= ' ' && c <= '~' ? c : '?';
  return quoted + (text.size() > kReadable ? "...'" : "'");
}

void AppendScaled(std::string_view bytes, std::vector<float>& out) {
  static const std::array<float, 256> kScaled = [] {
    std::array<float, 256> table{};
    for (int i = 0; i < 256; ++i) table[i] = static_cast<float>(i) / 255.0f;
    return table;
  }();
  const size_t start = out.size();
  out.resize(start + bytes.size());
  float* to = out.data() + start;
  for (size_t i = 0; i < bytes.size(); ++i) to[i] = kScaled[static_cast<uint8_t>(bytes[i])];
}

absl::StatusOr<HeldOut> HoldOut(int64_t rows, double fraction, int64_t split_seed, const std::string& path) {
  if (rows < 2) {
    return InvalidInput(absl::StrCat(path, ": holds ", rows,
                                     " row, too few for a training and a test part; give a test file"));
  }
  const auto wanted = static_cast<int64_t>(std::llround(static_cast<double>(rows) * fraction));
  const int64_t count = std::clamp<int64_t>(wanted, 1, rows - 1);
  // A part kept out of training, as validation is, but no client's.
  Random random({static_cast<uint64_t>(split_seed), Purpose::kValidationSplit, 0, ~uint64_t{0}});
  HeldOut parts;
  parts.test = random.Sample(rows, count);
  std::sort(parts.test.begin(), parts.test.end());
  parts.train.reserve(rows - count);
  auto next = parts.test.begin();
  for (int64_t row = 0; row < rows; ++row) {
    if (next != parts.test.end() && *next == row) {
      ++next;
    } else {
      parts.train.push_back(row);
    }
  }
  return parts;
}

absl::Status CheckDenseSize(int64_t rows, int64_t columns, const std::string& path) {
  if (rows == 0 || columns <= kMaxDenseElements / rows) return absl::OkStatus();
  return InvalidInput(absl::StrCat(path, ": ", rows, " rows of ", columns,
                                   " columns are too many for a dense table; leave out rows or columns"));
}

}  // namespace muster

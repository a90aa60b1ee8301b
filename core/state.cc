#include "core/state.h"

#include <zlib.h>

#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

constexpr uint32_t kMagic = 0x7453554D;  // "MUSt"
constexpr uint32_t kVersion = 1;
constexpr size_t kHeaderBytes = 12;

template <typename T>
void Append(const T& value, std::string& bytes) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}
void AppendName(const std::string& name, std::string& bytes) {
  Append(static_cast<uint32_t>(name.size()), bytes);
  bytes += name;
}

uint32_t Checksum(std::string_view bytes) {
  return static_cast<uint32_t>(
      crc32_z(0, reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size()));
}

// Takes values off the front; once something is missing, nothing more is read.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}

  template <typename T>
  T Read() {
    T value{};
    if (Has(sizeof value)) std::memcpy(&value, Take(sizeof value).data(), sizeof value);
    return value;
  }
  std::string ReadName() {
    const auto size = Read<uint32_t>();
    return Has(size) ? std::string(Take(size)) : "";
  }
  std::vector<float> ReadFloats(uint64_t count) {
    if (!ok_ || count > rest_.size() / sizeof(float)) {
      ok_ = false;
      return {};
    }
    std::vector<float> values(count);
    if (count > 0) std::memcpy(values.data(), Take(count * sizeof(float)).data(), count * sizeof(float));
    return values;
  }
  bool ok() const { return ok_; }
  bool at_end() const { return rest_.empty(); }

 private:
  bool Has(size_t size) { return ok_ = ok_ && size <= rest_.size(); }
  std::string_view Take(size_t size) {
    const std::string_view front = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return front;
  }

  std::string_view rest_;
  bool ok_ = true;
};

// Moves the entries of `from` whose names start with "prefix/" to `to`.
template <typename Map>
void TakeEntries(const std::string& prefix, Map& from, Map& to) {
  for (auto it = from.lower_bound(prefix); it != from.end() && it->first.starts_with(prefix);) {
    to.emplace(it->first.substr(prefix.size()), std::move(it->second));
    it = from.erase(it);
  }
}

}  // namespace

// NOLINTNEXTLINE(performance-unnecessary-value-param): its vectors are moved
void PutUnder(const std::string& prefix, State from, State& to) {
  for (auto& [name, values] : from.vectors) to.vectors[absl::StrCat(prefix, "/", name)] = std::move(values);
  for (const auto& [name, value] : from.numbers) to.numbers[absl::StrCat(prefix, "/", name)] = value;
}

State TakeUnder(const std::string& prefix, State& from) {
  const std::string start = absl::StrCat(prefix, "/");
  State taken;
  TakeEntries(start, from.vectors, taken.vectors);
  TakeEntries(start, from.numbers, taken.numbers);
  return taken;
}

std::string SerializeState(const State& state) {
  size_t size = kHeaderBytes + 8;
  for (const auto& [name, values] : state.vectors) size += 12 + name.size() + values.size() * sizeof(float);
  for (const auto& [name, value] : state.numbers) size += 4 + name.size() + sizeof value;
  std::string bytes(kHeaderBytes, '\0');
  bytes.reserve(size);
  Append(static_cast<uint32_t>(state.vectors.size()), bytes);
  for (const auto& [name, values] : state.vectors) {
    AppendName(name, bytes);
    Append(static_cast<uint64_t>(values.size()), bytes);
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }
  Append(static_cast<uint32_t>(state.numbers.size()), bytes);
  for (const auto& [name, value] : state.numbers) {
    AppendName(name, bytes);
    Append(value, bytes);
  }
  const uint32_t header[] = {kMagic, kVersion, Checksum(std::string_view(bytes).substr(kHeaderBytes))};
  std::memcpy(bytes.data(), header, sizeof header);
  return bytes;
}

absl::StatusOr<State> ParseState(std::string_view bytes) {
  Reader reader(bytes);
  if (reader.Read<uint32_t>() != kMagic) return InvalidInput("state does not start with its magic");
  if (const auto version = reader.Read<uint32_t>(); version != kVersion) {
    return InvalidInput(absl::StrCat("state has version ", version, ", this program reads ", kVersion));
  }
  const auto checksum = reader.Read<uint32_t>();
  if (!reader.ok() || checksum != Checksum(bytes.substr(kHeaderBytes))) {
    return InvalidInput("state is cut off or altered: its checksum is wrong");
  }
  State state;
  for (auto count = reader.Read<uint32_t>(); reader.ok() && count > 0; --count) {
    std::string name = reader.ReadName();
    const auto elements = reader.Read<uint64_t>();
    state.vectors[std::move(name)] = reader.ReadFloats(elements);
  }
  for (auto count = reader.Read<uint32_t>(); reader.ok() && count > 0; --count) {
    std::string name = reader.ReadName();
    state.numbers[std::move(name)] = reader.Read<double>();
  }
  if (!reader.ok() || !reader.at_end()) return InvalidInput("state does not end where it should");
  return state;
}

}  // namespace muster

// What a stateful part (an optimiser, error feedback, a server's method) remembers between rounds, in the one
// form that journals, client stores and wires carry.
#ifndef MUSTER_CORE_STATE_H_
#define MUSTER_CORE_STATE_H_

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/status.h"

namespace muster {

struct State {
  std::map<std::string, std::vector<float>> vectors;
  std::map<std::string, double> numbers;

  bool empty() const { return vectors.empty() && numbers.empty(); }
  friend bool operator==(const State&, const State&) = default;
};

// Entries of `from` under "prefix/name" in `to`, which must not have them; and those of `from` that start
// with "prefix/", taken out of it with the prefix removed.
void PutUnder(const std::string& prefix, State from, State& to);
State TakeUnder(const std::string& prefix, State& from);

// Little-endian bytes with a version and a checksum: u32 magic "MUSt", u32 version, u32 CRC-32 of what
// follows; u32 vectors, each (u32 name length, name, u64 elements, float32...); u32 numbers, each (u32 name
// length, name, float64).
std::string SerializeState(const State& state);
// INVALID_ARGUMENT for anything cut off, altered or of another version; nothing is allocated beyond the
// bytes' size.
absl::StatusOr<State> ParseState(std::string_view bytes);

}  // namespace muster

#endif  // MUSTER_CORE_STATE_H_

// The durable record of a run: SQLite (WAL) for what was decided and committed, content-named files for large
// tensors, written aside and renamed before the transaction that names them.
#ifndef MUSTER_SERVER_JOURNAL_JOURNAL_H_
#define MUSTER_SERVER_JOURNAL_JOURNAL_H_

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/parameters.h"
#include "core/state.h"
#include "core/status.h"

namespace muster {

// Everything the engine needs to go on with the next round to the same bits.
struct EngineState {
  int64_t rounds = 0;  // committed so far
  std::vector<float> model;
  std::map<std::string, State> parts;  // of "server_optimizer" and whatever else remembers, by name
  std::string policy;
  std::string selector;
};

enum class Durability {
  kProcess,  // survives kill -9 at any instant (what the kernel has is safe)
  kPower,    // survives a power cut too: every commit is fsynced
};

// One process at a time: opening a journal that another process has open fails with a message that says so.
// Not thread-safe.
class Journal {
 public:
  virtual ~Journal() = default;
  // Makes DIR/journal (which must not exist) or opens it. Opening an unfinished or damaged one:
  // INVALID_ARGUMENT says what is missing.
  static absl::StatusOr<std::unique_ptr<Journal>> Create(const std::string& dir, Durability durability);
  static absl::StatusOr<std::unique_ptr<Journal>> Open(const std::string& dir, Durability durability);

  // Makes the round durable, all or nothing: when it returns OK the round is committed, whatever happens
  // next. `record` is the round's JSON. Rounds are committed in order: state.rounds - 1 is the round of the
  // record.
  virtual absl::Status Commit(const std::string& record, const EngineState& state, const Layout& layout) = 0;
  // The state after the last committed round; nullopt before the first. Verified against its content hash.
  virtual absl::StatusOr<std::optional<EngineState>> Load(const Layout& layout) = 0;
  // The JSON records of all committed rounds, in order.
  virtual absl::StatusOr<std::vector<std::string>> Records() = 0;
  // Small named facts (the effective configuration, "finished").
  virtual absl::Status Put(const std::string& key, const std::string& value) = 0;
  virtual absl::StatusOr<std::optional<std::string>> Get(const std::string& key) = 0;
};

}  // namespace muster

#endif  // MUSTER_SERVER_JOURNAL_JOURNAL_H_

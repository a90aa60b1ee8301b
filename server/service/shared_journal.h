// A journal for several threads: the engine's, and the one that journals clients.
#ifndef MUSTER_SERVER_SERVICE_SHARED_JOURNAL_H_
#define MUSTER_SERVER_SERVICE_SHARED_JOURNAL_H_

#include <optional>
#include <string>
#include <vector>

#include "core/mutex.h"
#include "server/journal/journal.h"

namespace muster {

// Thread-safe: one call at a time reaches the journal, which outlives it.
class SharedJournal final : public Journal {
 public:
  explicit SharedJournal(Journal& journal) : journal_(journal) {}

  absl::Status Commit(const std::string& record, const EngineState& state, const Layout& layout) override {
    const MutexLock lock(&mutex_);
    return journal_.Commit(record, state, layout);
  }
  absl::StatusOr<std::optional<EngineState>> Load(const Layout& layout) override {
    const MutexLock lock(&mutex_);
    return journal_.Load(layout);
  }
  absl::StatusOr<std::vector<std::string>> Records() override {
    const MutexLock lock(&mutex_);
    return journal_.Records();
  }
  absl::Status Put(const std::string& key, const std::string& value) override {
    const MutexLock lock(&mutex_);
    return journal_.Put(key, value);
  }
  absl::StatusOr<std::optional<std::string>> Get(const std::string& key) override {
    const MutexLock lock(&mutex_);
    return journal_.Get(key);
  }

 private:
  Mutex mutex_;
  Journal& journal_;
};

}  // namespace muster

#endif  // MUSTER_SERVER_SERVICE_SHARED_JOURNAL_H_

// DIR/journal holds
//   journal.db       SQLite: rounds (record), states (the two newest: file, numbers, policy, selector), facts
//   <sha256>.state   safetensors: the model by layout, and "PART/NAME" vectors (server_optimizer/momentum)
//   lock             held by the process that has the journal open
#include "server/journal/journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/safetensors.h"
#include "server/journal/sqlite.h"

namespace muster {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSchemaVersion = 2;
constexpr size_t kStatesKept = 2;

// An advisory lock on a file; the kernel drops it with the process, however that ends.
class FileLock {
 public:
  static absl::StatusOr<std::unique_ptr<FileLock>> Take(const std::string& path, const std::string& dir) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0) return InvalidInput(absl::StrCat(path, ": cannot open: ", std::strerror(errno)));
    auto lock = std::unique_ptr<FileLock>(new FileLock(fd));
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return lock;
    if (errno == EWOULDBLOCK) {
      return InvalidInput(
          absl::StrCat("run directory ", dir, " is in use by another process; wait for it or end it"));
    }
    return InvalidInput(absl::StrCat(path, ": cannot lock: ", std::strerror(errno)));
  }
  ~FileLock() { ::close(fd_); }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  const int fd_;
};

absl::Status SyncFolder(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return InternalError(absl::StrCat(path, ": cannot open: ", std::strerror(errno)));
  const absl::Cleanup close = [fd] { ::close(fd); };
  if (::fsync(fd) != 0) return InternalError(absl::StrCat(path, ": cannot sync: ", std::strerror(errno)));
  return absl::OkStatus();
}

// The state file in pieces: a header, and the vectors where they lie (a large model is not copied).
class StateFile {
 public:
  // `state` outlives it, unchanged.
  StateFile(const EngineState& state, const Layout& layout) {
    Layout all = layout;  // its fingerprint is of no use here
    auto floats = static_cast<int64_t>(state.model.size());
    pieces_.emplace_back();
    Append(state.model);
    for (const auto& [part, remembered] : state.parts) {
      for (const auto& [name, values] : remembered.vectors) {
        const auto size = static_cast<int64_t>(values.size());
        all.entries.push_back({.name = absl::StrCat(part, "/", name), .shape = {size}, .offset = floats});
        floats += size;
        Append(values);
      }
    }
    header_ = SafetensorsHeader(all);
    pieces_.front() = header_;
  }
  StateFile(const StateFile&) = delete;
  StateFile& operator=(const StateFile&) = delete;

  std::span<const std::string_view> pieces() const { return pieces_; }

 private:
  void Append(const std::vector<float>& values) {
    pieces_.emplace_back(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
  }

  std::string header_;
  std::vector<std::string_view> pieces_;
};

// The numbers of all parts, {"PART/NAME": value}: JSON keeps every bit of a finite double.
std::string NumbersToJson(const EngineState& state) {
  nlohmann::json json = nlohmann::json::object();
  for (const auto& [part, remembered] : state.parts) {
    for (const auto& [name, value] : remembered.numbers) json[absl::StrCat(part, "/", name)] = value;
  }
  return json.dump();
}

// Splits "PART/NAME"; an empty part where there is none.
std::pair<std::string, std::string> SplitKey(const std::string& key) {
  const size_t slash = key.find('/');
  if (slash == std::string::npos) return {"", key};
  return {key.substr(0, slash), key.substr(slash + 1)};
}

absl::Status ReadNumbers(const std::string& text, const std::string& path, EngineState& state) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return InvalidInput(absl::StrCat(path, ": damaged: the numbers of a state"));
  for (const auto& [key, value] : json.items()) {
    if (!value.is_number())
      return InvalidInput(absl::StrCat(path, ": damaged: number '", key, "' of a state"));
    const auto [part, name] = SplitKey(key);
    state.parts[part].numbers[name] = value.get<double>();
  }
  return absl::OkStatus();
}

// The inverse of StateFile; `path` is for errors.
absl::Status ReadStateFile(std::string_view bytes, const std::string& path, const Layout& layout,
                           EngineState& state) {
  MUSTER_ASSIGN_OR_RETURN(NamedTensors file, ParseSafetensors(bytes, path));
  state.model.resize(static_cast<size_t>(layout.size));
  for (const Layout::Entry& entry : layout.entries) {
    const auto found = file.tensors.find(entry.name);
    if (found == file.tensors.end() || found->second.shape != entry.shape) {
      return InvalidInput(
          absl::StrCat(path, ": its model is not the configured one (tensor '", entry.name,
                       "' is missing or has another shape); resume with the run's own configuration"));
    }
    std::copy(found->second.values.begin(), found->second.values.end(), state.model.begin() + entry.offset);
    file.tensors.erase(found);
  }
  for (auto& [key, tensor] : file.tensors) {
    const auto [part, name] = SplitKey(key);
    if (part.empty()) {
      return InvalidInput(absl::StrCat(path, ": its model is not the configured one (tensor '", key,
                                       "' is too many); resume with the run's own configuration"));
    }
    state.parts[part].vectors[name] = std::move(tensor.values);
  }
  return absl::OkStatus();
}

class SqliteJournal final : public Journal {
 public:
  // `folder` is DIR/journal.
  SqliteJournal(std::string folder, Durability durability, std::unique_ptr<FileLock> lock,
                std::unique_ptr<Database> database)
      : folder_(std::move(folder)),
        durability_(durability),
        lock_(std::move(lock)),
        database_(std::move(database)) {}

  absl::Status Configure() {
    // Exclusive locking keeps the write-ahead log's index in memory: faster, and right on network file
    // systems too.
    MUSTER_RETURN_IF_ERROR(database_->Run("PRAGMA locking_mode = EXCLUSIVE"));
    MUSTER_RETURN_IF_ERROR(database_->Run("PRAGMA journal_mode = WAL"));
    return database_->Run(durability_ == Durability::kPower ? "PRAGMA synchronous = FULL"
                                                            : "PRAGMA synchronous = OFF");
  }

  absl::Status MakeSchema() {
    return Transaction([this]() -> absl::Status {
      MUSTER_RETURN_IF_ERROR(
          database_->Run("CREATE TABLE rounds (round INTEGER PRIMARY KEY, record TEXT NOT NULL)"));
      MUSTER_RETURN_IF_ERROR(
          database_->Run("CREATE TABLE states (round INTEGER PRIMARY KEY, file TEXT NOT NULL, "
                         "numbers TEXT NOT NULL, policy TEXT NOT NULL, selector TEXT NOT NULL)"));
      MUSTER_RETURN_IF_ERROR(
          database_->Run("CREATE TABLE facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"));
      return database_->Run(absl::StrCat("PRAGMA user_version = ", kSchemaVersion));
    });
  }

  // Checks what an earlier process left behind and tidies up after it.
  absl::Status Inspect() {
    int64_t version = 0;
    MUSTER_RETURN_IF_ERROR(database_->Run("PRAGMA user_version", {},
                                          [&](const Database::Row& row) { version = row.Integer(0); }));
    if (version == 0) {
      return InvalidInput(absl::StrCat(folder_,
                                       ": the journal was never finished being made; remove this folder and "
                                       "start the run anew"));
    }
    if (version != kSchemaVersion) {
      return InvalidInput(absl::StrCat(folder_, ": the journal has schema version ", version,
                                       ", this program reads ", kSchemaVersion,
                                       "; use the program that wrote it"));
    }
    std::string check;
    MUSTER_RETURN_IF_ERROR(
        database_->Run("PRAGMA quick_check(1)", {}, [&](const Database::Row& row) { check = row.Bytes(0); }));
    if (check != "ok") {
      std::replace(check.begin(), check.end(), '\n', ' ');
      return Damaged("journal.db", check);
    }
    int64_t count = 0, last = -1, first = 0;
    MUSTER_RETURN_IF_ERROR(
        database_->Run("SELECT COUNT(*), COALESCE(MIN(round), 0), COALESCE(MAX(round), -1) FROM rounds", {},
                       [&](const Database::Row& row) {
                         count = row.Integer(0);
                         first = row.Integer(1);
                         last = row.Integer(2);
                       }));
    if (first != 0 || last != count - 1) return Damaged("journal.db", "records of some rounds are missing");
    rounds_ = count;
    int64_t newest = -1;
    MUSTER_RETURN_IF_ERROR(
        database_->Run("SELECT round, file FROM states ORDER BY round", {}, [&](const Database::Row& row) {
          newest = row.Integer(0);
          states_.push_back(row.Bytes(1));
        }));
    if (newest != rounds_ - 1)
      return Damaged("journal.db", absl::StrCat("the state of round ", last, " is missing"));
    std::error_code error;
    if (rounds_ > 0 && !fs::exists(PathOf(states_.back()), error)) {
      return Damaged(states_.back(), absl::StrCat("the file with the state of round ", last, " is missing"));
    }
    RemoveOrphans();
    return absl::OkStatus();
  }

  absl::Status Commit(const std::string& record, const EngineState& state, const Layout& layout) override {
    const int64_t round = state.rounds - 1;
    if (round != rounds_) {
      return InternalError(absl::StrCat("journal expects round ", rounds_, ", was given round ", round));
    }
    if (static_cast<int64_t>(state.model.size()) != layout.size) {
      return InternalError(
          absl::StrCat("model has ", state.model.size(), " elements, its layout ", layout.size));
    }
    std::string file;
    {
      const StateFile content(state, layout);
      file = absl::StrCat(Sha256Hex(content.pieces()), ".state");
      MUSTER_RETURN_IF_ERROR(
          WriteFileAtomic(PathOf(file), content.pieces(), durability_ == Durability::kPower));
    }
    const absl::Status stored = Transaction([&]() -> absl::Status {
      MUSTER_RETURN_IF_ERROR(database_->Run("INSERT INTO rounds VALUES (?, ?)", {round, record}));
      MUSTER_RETURN_IF_ERROR(
          database_->Run("INSERT INTO states VALUES (?, ?, ?, ?, ?)",
                         {round, file, NumbersToJson(state), state.policy, state.selector}));
      return database_->Run("DELETE FROM states WHERE round <= ?",
                            {round - static_cast<int64_t>(kStatesKept)});
    });
    if (!stored.ok()) {
      RemoveIfUnused(file);
      return stored;
    }
    ++rounds_;
    states_.push_back(file);
    if (states_.size() > kStatesKept) {
      const std::string oldest = std::move(states_.front());
      states_.pop_front();
      RemoveIfUnused(oldest);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<std::optional<EngineState>> Load(const Layout& layout) override {
    if (rounds_ == 0) return std::nullopt;
    EngineState state;
    state.rounds = rounds_;
    std::string numbers;
    MUSTER_RETURN_IF_ERROR(database_->Run("SELECT policy, selector, numbers FROM states WHERE round = ?",
                                          {rounds_ - 1}, [&](const Database::Row& row) {
                                            state.policy = row.Bytes(0);
                                            state.selector = row.Bytes(1);
                                            numbers = row.Bytes(2);
                                          }));
    MUSTER_RETURN_IF_ERROR(ReadNumbers(numbers, PathOf("journal.db"), state));
    const std::string& file = states_.back();
    MUSTER_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(PathOf(file)));
    if (absl::StrCat(Sha256Hex(bytes), ".state") != file) {
      return Damaged(file, "its content does not match the hash in its name: cut off or altered");
    }
    MUSTER_RETURN_IF_ERROR(ReadStateFile(bytes, PathOf(file), layout, state));
    return state;
  }

  absl::StatusOr<std::vector<std::string>> Records() override {
    std::vector<std::string> records;
    MUSTER_RETURN_IF_ERROR(
        database_->Run("SELECT record FROM rounds ORDER BY round", {},
                       [&](const Database::Row& row) { records.push_back(row.Bytes(0)); }));
    return records;
  }

  absl::Status Put(const std::string& key, const std::string& value) override {
    return database_->Run(
        "INSERT INTO facts VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        {key, value});
  }

  absl::StatusOr<std::optional<std::string>> Get(const std::string& key) override {
    std::optional<std::string> value;
    MUSTER_RETURN_IF_ERROR(database_->Run("SELECT value FROM facts WHERE key = ?", {key},
                                          [&](const Database::Row& row) { value = row.Bytes(0); }));
    return value;
  }

 private:
  std::string PathOf(const std::string& file) const { return absl::StrCat(folder_, "/", file); }

  absl::Status Damaged(const std::string& file, const std::string& what) const {
    return InvalidInput(absl::StrCat(PathOf(file), ": damaged: ", what,
                                     "; restore the run directory from a copy or start anew"));
  }

  absl::Status Transaction(absl::FunctionRef<absl::Status()> body) {
    MUSTER_RETURN_IF_ERROR(database_->Run("BEGIN IMMEDIATE"));
    absl::Status status = body();
    if (status.ok()) status = database_->Run("COMMIT");
    // After some errors SQLite has rolled back by itself; a second time does no harm.
    if (!status.ok()) database_->Run("ROLLBACK").IgnoreError();
    return status;
  }

  // Two rounds with the same state share its file.
  void RemoveIfUnused(const std::string& file) const {
    if (std::find(states_.begin(), states_.end(), file) == states_.end()) ::unlink(PathOf(file).c_str());
  }

  // A crash between a file and its transaction leaves a file that no round names.
  void RemoveOrphans() const {
    std::error_code error;
    std::vector<std::string> names;
    for (fs::directory_iterator it(folder_, error), end; !error && it != end; it.increment(error)) {
      names.push_back(it->path().filename().string());
    }
    for (const std::string& name : names) {
      if (name.ends_with(".state") || name.ends_with(".tmp")) RemoveIfUnused(name);
    }
  }

  const std::string folder_;
  const Durability durability_;
  const std::unique_ptr<FileLock> lock_;
  const std::unique_ptr<Database> database_;
  int64_t rounds_ = 0;              // committed
  std::deque<std::string> states_;  // files of the newest rounds, oldest first
};

absl::StatusOr<std::unique_ptr<SqliteJournal>> Connect(const std::string& folder, const std::string& dir,
                                                       Durability durability, bool create) {
  MUSTER_ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock, FileLock::Take(absl::StrCat(folder, "/lock"), dir));
  MUSTER_ASSIGN_OR_RETURN(std::unique_ptr<Database> database,
                          Database::Open(absl::StrCat(folder, "/journal.db"), create));
  auto journal = std::make_unique<SqliteJournal>(folder, durability, std::move(lock), std::move(database));
  MUSTER_RETURN_IF_ERROR(journal->Configure());
  return journal;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Journal>> Journal::Create(const std::string& dir, Durability durability) {
  const std::string folder = absl::StrCat(dir, "/journal");
  std::error_code error;
  fs::create_directories(dir, error);
  if (error) return InvalidInput(absl::StrCat(dir, ": cannot make this folder: ", error.message()));
  if (fs::exists(folder, error)) {
    return InvalidInput(absl::StrCat(dir, ": a run is already here; go on with 'muster resume ", dir,
                                     "' or choose another folder"));
  }
  // Made aside and renamed: a journal that is there is whole, whenever its maker is killed.
  const std::string aside = absl::StrCat(folder, ".new");
  fs::remove_all(aside, error);
  fs::create_directory(aside, error);
  if (error) return InvalidInput(absl::StrCat(aside, ": cannot make this folder: ", error.message()));
  {
    MUSTER_ASSIGN_OR_RETURN(const auto unnamed, Connect(aside, dir, durability, /*create=*/true));
    MUSTER_RETURN_IF_ERROR(unnamed->MakeSchema());
  }
  if (durability == Durability::kPower) MUSTER_RETURN_IF_ERROR(SyncFolder(aside));
  fs::rename(aside, folder, error);
  if (error) return InvalidInput(absl::StrCat(folder, ": cannot make this folder: ", error.message()));
  if (durability == Durability::kPower) MUSTER_RETURN_IF_ERROR(SyncFolder(dir));
  return Open(dir, durability);
}

absl::StatusOr<std::unique_ptr<Journal>> Journal::Open(const std::string& dir, Durability durability) {
  const std::string folder = absl::StrCat(dir, "/journal");
  std::error_code error;
  if (!fs::is_directory(folder, error)) {
    return absl::NotFoundError(absl::StrCat(dir, ": no journal here; is it a run directory?"));
  }
  if (!fs::exists(absl::StrCat(folder, "/journal.db"), error)) {
    return InvalidInput(absl::StrCat(folder,
                                     ": journal.db is missing; restore it, or remove this folder and start "
                                     "the run anew"));
  }
  MUSTER_ASSIGN_OR_RETURN(std::unique_ptr<SqliteJournal> journal,
                          Connect(folder, dir, durability, /*create=*/false));
  MUSTER_RETURN_IF_ERROR(journal->Inspect());
  return journal;
}

}  // namespace muster

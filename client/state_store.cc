#include "client/state_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

constexpr char kMagic[8] = {'M', 'U', 'S', 'T', 'S', 'T', 'O', '1'};
constexpr uint32_t kRecordMagic = 0x4352554D;
constexpr int64_t kNone = -1;  // the round of a record that is free

// In front of every record, followed by `capacity` bytes of which `size` are a serialised State (with a
// checksum of its own). A record keeps its place and capacity for ever, so that a reader always finds the
// next one.
struct RecordHeader {
  uint32_t magic = kRecordMagic;
  uint32_t reserved = 0;
  int64_t client = 0;
  int64_t round = kNone;
  uint64_t capacity = 0;
  uint64_t size = 0;
};
static_assert(sizeof(RecordHeader) == 40);

bool ReadAt(int fd, void* data, size_t size, int64_t offset) {
  auto* to = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = ::pread(fd, to, size, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    to += got;
    offset += got;
    size -= static_cast<size_t>(got);
  }
  return true;
}

bool WriteAt(int fd, const void* data, size_t size, int64_t offset) {
  const auto* from = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t put = ::pwrite(fd, from, size, offset);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return false;
    from += put;
    offset += put;
    size -= static_cast<size_t>(put);
  }
  return true;
}

absl::StatusOr<int> OpenFile(const std::string& path) {
  if (path.empty()) {
    const char* folder = std::getenv("TMPDIR");
    std::string name = absl::StrCat(folder != nullptr ? folder : "/tmp", "/muster-state-XXXXXX");
    const int fd = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd < 0)
      return InvalidInput(
          absl::StrCat(name, ": cannot make a file for clients' state: ", std::strerror(errno)));
    ::unlink(name.c_str());
    return fd;
  }
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return InvalidInput(absl::StrCat(path, ": cannot open: ", std::strerror(errno)));
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    return InvalidInput(absl::StrCat(path, ": in use by another process; wait for it or end it"));
  }
  return fd;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StateStore>> StateStore::Open(const std::string& path) {
  MUSTER_ASSIGN_OR_RETURN(const int fd, OpenFile(path));
  auto store = std::unique_ptr<StateStore>(new StateStore(path, fd));
  MUSTER_RETURN_IF_ERROR(store->Scan());
  return store;
}

StateStore::~StateStore() { ::close(fd_); }

absl::Status StateStore::IoError(const char* action) const {
  return InternalError(absl::StrCat(path_.empty() ? "clients' state" : path_, ": cannot ", action, ": ",
                                    std::strerror(errno)));
}

absl::Status StateStore::Scan() {
  const MutexLock lock(&mutex_);
  struct stat info {};
  if (::fstat(fd_, &info) != 0) return IoError("examine");
  if (info.st_size == 0) {
    if (!WriteAt(fd_, kMagic, sizeof kMagic, 0)) return IoError("write");
    end_ = sizeof kMagic;
    return absl::OkStatus();
  }
  char magic[sizeof kMagic];
  if (!ReadAt(fd_, magic, sizeof magic, 0) || std::memcmp(magic, kMagic, sizeof magic) != 0) {
    return InvalidInput(
        absl::StrCat(path_, ": is not a store of clients' state; give another path or remove it"));
  }
  end_ = sizeof kMagic;
  while (end_ < info.st_size) {
    RecordHeader header;
    const int64_t room = info.st_size - end_ - static_cast<int64_t>(sizeof header);
    // The last record may have been cut off by a crash while it was appended: it is none.
    if (room < 0 || !ReadAt(fd_, &header, sizeof header, end_) || header.magic != kRecordMagic ||
        header.capacity > static_cast<uint64_t>(room) || header.size > header.capacity) {
      break;
    }
    const Slot slot{end_, header.round, header.capacity, header.size};
    end_ += static_cast<int64_t>(sizeof header + header.capacity);
    Slots* slots = header.round == kNone ? nullptr : &clients_[header.client];
    Slot* empty = slots == nullptr ? nullptr : (*slots)[0].offset < 0 ? &(*slots)[0] : &(*slots)[1];
    // A crash between writing a new record and freeing the old one leaves three: the oldest goes.
    if (empty != nullptr && empty->offset >= 0) {
      Slot& oldest = (*slots)[0].round < (*slots)[1].round ? (*slots)[0] : (*slots)[1];
      if (oldest.round > slot.round) {
        empty = nullptr;
      } else {
        free_.emplace(oldest.capacity, oldest.offset);
        empty = &oldest;
      }
    }
    if (empty == nullptr) {
      free_.emplace(slot.capacity, slot.offset);
    } else {
      *empty = slot;
    }
  }
  if (end_ < info.st_size && ::ftruncate(fd_, end_) != 0) return IoError("repair");
  return absl::OkStatus();
}

absl::StatusOr<State> StateStore::Read(int64_t client, const Slot& slot) const {
  std::string bytes(slot.size, '\0');
  if (!ReadAt(fd_, bytes.data(), bytes.size(), slot.offset + static_cast<int64_t>(sizeof(RecordHeader)))) {
    return IoError("read");
  }
  absl::StatusOr<State> state = ParseState(bytes);
  if (!state.ok()) return Annotate(state.status(), absl::StrCat("state of client ", client));
  return state;
}

absl::StatusOr<State> StateStore::Load(int64_t client, int64_t round) const {
  Slots slots;
  {
    const MutexLock lock(&mutex_);
    const auto found = clients_.find(client);
    if (found == clients_.end()) return State();
    slots = found->second;
  }
  if (slots[0].round < slots[1].round) std::swap(slots[0], slots[1]);
  absl::Status damaged;
  for (const Slot& slot : slots) {
    if (slot.offset < 0 || slot.round >= round) continue;
    // A record that a crash cut off while it was overwritten is older than the one that counts.
    absl::StatusOr<State> state = Read(client, slot);
    if (state.ok()) return state;
    damaged.Update(state.status());
  }
  if (!damaged.ok()) return damaged;
  return State();
}

StateStore::Slot StateStore::Allocate(uint64_t size) {
  const auto found = free_.lower_bound(size);
  if (found != free_.end() && found->first <= 2 * size) {
    const Slot slot{found->second, kNone, found->first, size};
    free_.erase(found);
    return slot;
  }
  const Slot slot{end_, kNone, size, size};
  end_ += static_cast<int64_t>(sizeof(RecordHeader) + size);
  return slot;
}

absl::Status StateStore::Write(int64_t client, const Slot& slot, std::string_view bytes) const {
  const RecordHeader header{
      .client = client, .round = slot.round, .capacity = slot.capacity, .size = slot.size};
  const auto data = slot.offset + static_cast<int64_t>(sizeof header);
  // The state first: a header never speaks of bytes that are not there. A new record at the end gets its full
  // length.
  if (!WriteAt(fd_, bytes.data(), bytes.size(), data) || !WriteAt(fd_, &header, sizeof header, slot.offset)) {
    return IoError("write");
  }
  return absl::OkStatus();
}

absl::Status StateStore::Free(const Slot& slot) {
  const RecordHeader header{.capacity = slot.capacity};
  if (!WriteAt(fd_, &header, sizeof header, slot.offset)) return IoError("write");
  free_.emplace(slot.capacity, slot.offset);
  return absl::OkStatus();
}

absl::Status StateStore::Save(int64_t client, int64_t round, const State& state) {
  const std::string bytes = SerializeState(state);
  const MutexLock lock(&mutex_);
  Slots& slots = clients_[client];
  // The newest record from before this round must stay; the other one's place is taken.
  const auto age = [round](const Slot& slot) { return slot.round < round ? slot.round : kNone; };
  Slot& old = age(slots[0]) <= age(slots[1]) ? slots[0] : slots[1];
  Slot fresh = old;
  const bool reuse = old.offset >= 0 && bytes.size() <= old.capacity && old.capacity <= 2 * bytes.size();
  if (!reuse) fresh = Allocate(bytes.size());
  fresh.round = round;
  fresh.size = bytes.size();
  MUSTER_RETURN_IF_ERROR(Write(client, fresh, bytes));
  if (!reuse && old.offset >= 0) MUSTER_RETURN_IF_ERROR(Free(old));
  old = fresh;
  return absl::OkStatus();
}

int64_t StateStore::clients() const {
  const MutexLock lock(&mutex_);
  return static_cast<int64_t>(clients_.size());
}

int64_t StateStore::size_bytes() const {
  const MutexLock lock(&mutex_);
  return end_;
}

}  // namespace muster

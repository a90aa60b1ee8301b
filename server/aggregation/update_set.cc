#include "server/aggregation/update_set.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace muster {
namespace {

constexpr int64_t kBlockBytes = int64_t{32} << 20;  // of all rows of a block together

absl::Status DiskError(const char* action) {
  return InternalError(
      absl::StrCat("the file of a round's updates: cannot ", action, ": ", std::strerror(errno)));
}

}  // namespace

UpdateSet::UpdateSet(int64_t size, int64_t memory_bytes) : size_(size), memory_bytes_(memory_bytes) {}

UpdateSet::~UpdateSet() {
  if (fd_ >= 0) ::close(fd_);
}

absl::Status UpdateSet::Add(ClientId client, double weight, std::vector<float> values) {
  const auto place = std::lower_bound(members_.begin(), members_.end(), client,
                                      [](const Member& member, ClientId id) { return member.client < id; });
  members_.insert(place, Member{.client = client, .weight = weight, .values = std::move(values)});
  const int64_t bytes = count() * size_ * static_cast<int64_t>(sizeof(float));
  return fd_ >= 0 || bytes > memory_bytes_ ? Spill() : absl::OkStatus();
}

absl::Status UpdateSet::Spill() {
  if (fd_ < 0) {
    const char* folder = std::getenv("TMPDIR");
    std::string name = absl::StrCat(folder != nullptr ? folder : "/tmp", "/muster-updates-XXXXXX");
    fd_ = ::mkostemp(name.data(), O_CLOEXEC);
    if (fd_ < 0) return DiskError("be made");
    ::unlink(name.c_str());
  }
  for (Member& member : members_) {
    if (member.offset >= 0) continue;
    const char* from = reinterpret_cast<const char*>(member.values.data());
    size_t left = member.values.size() * sizeof(float);
    int64_t offset = end_;
    while (left > 0) {
      const ssize_t put = ::pwrite(fd_, from, left, offset);
      if (put < 0 && errno == EINTR) continue;
      if (put < 0) return DiskError("be written");
      from += put;
      offset += put;
      left -= static_cast<size_t>(put);
    }
    member.offset = end_;
    end_ = offset;
    std::vector<float>().swap(member.values);
  }
  return absl::OkStatus();
}

absl::Status UpdateSet::ReadBlock(const Member& member, int64_t first, std::span<float> values) const {
  char* to = reinterpret_cast<char*>(values.data());
  size_t left = values.size_bytes();
  int64_t offset = member.offset + first * static_cast<int64_t>(sizeof(float));
  while (left > 0) {
    const ssize_t got = ::pread(fd_, to, left, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return DiskError("be read");
    to += got;
    offset += got;
    left -= static_cast<size_t>(got);
  }
  return absl::OkStatus();
}

std::vector<double> UpdateSet::weights() const {
  std::vector<double> weights;
  for (const Member& member : members_) weights.push_back(member.weight);
  return weights;
}

std::vector<ClientId> UpdateSet::clients() const {
  std::vector<ClientId> clients;
  for (const Member& member : members_) clients.push_back(member.client);
  return clients;
}

absl::Status UpdateSet::ForEachBlock(Visitor visit) const {
  const int64_t row_bytes = std::max<int64_t>(count(), 1) * static_cast<int64_t>(sizeof(float));
  const int64_t block = std::clamp<int64_t>(kBlockBytes / row_bytes, 1, std::max<int64_t>(size_, 1));
  std::vector<std::vector<float>> read(fd_ >= 0 ? members_.size() : 0);
  std::vector<std::span<const float>> rows(members_.size());
  for (int64_t first = 0; first < size_; first += block) {
    const auto length = static_cast<size_t>(std::min(block, size_ - first));
    for (size_t i = 0; i < members_.size(); ++i) {
      if (members_[i].offset < 0) {
        rows[i] = std::span<const float>(members_[i].values).subspan(static_cast<size_t>(first), length);
        continue;
      }
      read[i].resize(length);
      MUSTER_RETURN_IF_ERROR(ReadBlock(members_[i], first, read[i]));
      rows[i] = read[i];
    }
    visit(first, rows);
  }
  return absl::OkStatus();
}

}  // namespace muster

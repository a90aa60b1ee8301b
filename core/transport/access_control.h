// Which identities may talk to a coordinator: an allow list, a revocation list, and the key that signs
// tokens. Lists are files and are read again when they change, without a restart.
#ifndef MUSTER_CORE_TRANSPORT_ACCESS_CONTROL_H_
#define MUSTER_CORE_TRANSPORT_ACCESS_CONTROL_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "core/mutex.h"
#include "core/status.h"
#include "core/transport/certificates.h"

namespace muster {

// Where a coordinator's one-line remarks go. Called from any thread.
using LogLine = std::function<void(std::string_view)>;

// Thread-safe.
class AccessControl {
 public:
  struct Files {
    // Common names, one a line, '#' starts a comment; empty: everyone with a valid certificate or token.
    // Operators need not be on it.
    std::string allow;
    // Serials (hexadecimal), one at the start of each line, the rest of the line is for people; or a PEM CRL
    // signed by the authority. Empty: none. May not exist yet: nothing is revoked then.
    std::string revoked;
    // 32 random bytes in hexadecimal. Empty: no tokens, every client must have a certificate.
    std::string token_key;
  };

  // The layout `muster certs` knows: DIRECTORY/allow.txt and DIRECTORY/token.key if they are there now, and
  // DIRECTORY/revoked.txt whenever it comes.
  static Files FilesIn(const std::string& directory);

  // INVALID_ARGUMENT / NOT_FOUND, one line that names file and line, if a list is malformed. `authority` is
  // the PEM text a CRL's signature is checked against. Later on, a list that turns bad or vanishes is
  // reported to `log` and the last good one stays in force.
  static absl::StatusOr<std::shared_ptr<AccessControl>> Open(const Files& files, std::string authority,
                                                             LogLine log);

  // OK, or PERMISSION_DENIED: revoked, not on the allow list, or no longer valid at this time. Reads changed
  // lists first.
  absl::Status Authorize(const Identity& identity);

  // A number that grows when a list was read again: the sign to authorize live sessions anew.
  int64_t Version();

  bool accepts_tokens() const { return !token_key_.empty(); }
  // UNAUTHENTICATED: see VerifyToken.
  absl::StatusOr<Identity> Authenticate(std::string_view token) const;

 private:
  // A file and what it looked like when it was last read.
  struct Watched {
    std::string path;
    std::string stamp;
  };

  AccessControl(const Files& files, std::string authority, LogLine log);
  absl::Status ReadAllowed() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status ReadRevoked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ReadChanged() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string authority_;
  const LogLine log_;
  std::string token_key_;
  Mutex mutex_;
  Watched allow_ ABSL_GUARDED_BY(mutex_);
  Watched revoke_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string, std::less<>> allowed_ ABSL_GUARDED_BY(mutex_);
  std::set<std::string, std::less<>> revoked_ ABSL_GUARDED_BY(mutex_);
  int64_t version_ ABSL_GUARDED_BY(mutex_) = 1;
};

}  // namespace muster

#endif  // MUSTER_CORE_TRANSPORT_ACCESS_CONTROL_H_

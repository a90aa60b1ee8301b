#include "core/transport/access_control.h"

#include <sys/stat.h>

#include <filesystem>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "core/file.h"
#include "core/transport/openssl.h"
#include "core/transport/token.h"

namespace muster {
namespace {

using Names = std::set<std::string, std::less<>>;

// Changes whenever the file does; "" if there is none.
std::string Stamp(const std::string& path) {
  struct stat status = {};
  if (path.empty() || stat(path.c_str(), &status) != 0) return "";
  return absl::StrCat(status.st_ino, " ", status.st_size, " ", status.st_mtim.tv_sec, ".",
                      status.st_mtim.tv_nsec);
}

absl::StatusOr<Names> ParseAllowed(const std::string& path) {
  MUSTER_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  Names names;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    line = absl::StripAsciiWhitespace(line.substr(0, line.find('#')));
    if (!line.empty()) names.emplace(line);
  }
  return names;
}

absl::StatusOr<Names> ParseSerials(const std::string& path, const std::string& text) {
  Names serials;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    line = absl::StripAsciiWhitespace(line.substr(0, line.find('#')));
    if (line.empty()) continue;
    const std::string serial = absl::AsciiStrToLower(line.substr(0, line.find_first_of(" \t")));
    if (serial.find_first_not_of("0123456789abcdef") != std::string::npos) {
      return InvalidInput(
          absl::StrCat(path, ":", number, ": not a serial in hexadecimal digits: ", line.substr(0, 40)));
    }
    serials.insert(serial);
  }
  return serials;
}

absl::StatusOr<Names> ParseCrls(const std::string& path, const std::string& text,
                                const std::string& authority) {
  Names serials;
  const std::vector<openssl::Cert> authorities = openssl::Certificates(authority);
  const openssl::Bio bio = openssl::View(text);
  int count = 0;
  while (X509_CRL* next = PEM_read_bio_X509_CRL(bio.get(), nullptr, nullptr, nullptr)) {
    const openssl::Crl crl(next);
    ++count;
    bool trusted = false;
    for (const openssl::Cert& certificate : authorities) {
      trusted = trusted || X509_CRL_verify(next, X509_get0_pubkey(certificate.get())) == 1;
    }
    if (!trusted) return InvalidInput(absl::StrCat(path, ": the CRL is not signed by the authority"));
    STACK_OF(X509_REVOKED)* revoked = X509_CRL_get_REVOKED(next);
    for (int i = 0; i < sk_X509_REVOKED_num(revoked); ++i) {
      serials.insert(openssl::SerialHex(X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(revoked, i))));
    }
  }
  ERR_clear_error();
  if (count == 0) return InvalidInput(absl::StrCat(path, ": damaged CRL"));
  return serials;
}

}  // namespace

AccessControl::AccessControl(const Files& files, std::string authority, LogLine log)
    : authority_(std::move(authority)),
      log_(std::move(log)),
      allow_{files.allow, ""},
      revoke_{files.revoked, ""} {}

AccessControl::Files AccessControl::FilesIn(const std::string& directory) {
  const auto if_there = [&directory](const char* name) {
    const std::string path = directory + name;
    return std::filesystem::exists(path) ? path : "";
  };
  return {if_there("/allow.txt"), directory + "/revoked.txt", if_there("/token.key")};
}

absl::StatusOr<std::shared_ptr<AccessControl>> AccessControl::Open(const Files& files, std::string authority,
                                                                   LogLine log) {
  std::shared_ptr<AccessControl> access(new AccessControl(files, std::move(authority), std::move(log)));
  if (!files.token_key.empty()) {
    MUSTER_ASSIGN_OR_RETURN(access->token_key_, ReadTokenKey(files.token_key));
  }
  MutexLock lock(&access->mutex_);
  MUSTER_RETURN_IF_ERROR(access->ReadAllowed());
  MUSTER_RETURN_IF_ERROR(access->ReadRevoked());
  return access;
}

absl::Status AccessControl::ReadAllowed() {
  if (allow_.path.empty()) return absl::OkStatus();
  allow_.stamp = Stamp(allow_.path);
  MUSTER_ASSIGN_OR_RETURN(allowed_, ParseAllowed(allow_.path));
  return absl::OkStatus();
}

absl::Status AccessControl::ReadRevoked() {
  if (revoke_.path.empty()) return absl::OkStatus();
  revoke_.stamp = Stamp(revoke_.path);
  absl::StatusOr<std::string> text = ReadFile(revoke_.path);
  if (absl::IsNotFound(text.status()) && version_ == 1) return absl::OkStatus();
  if (!text.ok()) return text.status();
  const bool crl = text->find("-----BEGIN X509 CRL-----") != std::string::npos;
  MUSTER_ASSIGN_OR_RETURN(
      revoked_, crl ? ParseCrls(revoke_.path, *text, authority_) : ParseSerials(revoke_.path, *text));
  return absl::OkStatus();
}

void AccessControl::ReadChanged() {
  const auto read = [this](Watched& list, absl::Status (AccessControl::*parse)(), const char* what) {
    if (list.path.empty() || Stamp(list.path) == list.stamp) return;
    ++version_;
    const absl::Status status = (this->*parse)();
    if (!log_) return;
    log_(status.ok() ? absl::StrCat(list.path, ": ", what, " read again")
                     : absl::StrCat("the ", what, " as it was stays in force: ", status.message()));
  };
  read(allow_, &AccessControl::ReadAllowed, "allow list");
  read(revoke_, &AccessControl::ReadRevoked, "revocation list");
}

int64_t AccessControl::Version() {
  MutexLock lock(&mutex_);
  ReadChanged();
  return version_;
}

absl::Status AccessControl::Authorize(const Identity& identity) {
  const auto refuse = [&](absl::string_view why) {
    return absl::PermissionDeniedError(
        absl::StrCat("\"", identity.common_name, "\" (serial ", identity.serial, ") ", why));
  };
  const absl::Time now = absl::Now();
  if (now > identity.not_after)
    return refuse(absl::StrCat("expired on ", absl::FormatTime(identity.not_after)));
  if (now < identity.not_before) {
    return refuse(absl::StrCat("is not valid before ", absl::FormatTime(identity.not_before)));
  }
  MutexLock lock(&mutex_);
  ReadChanged();
  if (revoked_.contains(identity.serial)) return refuse("is revoked");
  if (allow_.path.empty() || identity.organizational_unit == kOperatorUnit) return absl::OkStatus();
  if (!allowed_.contains(identity.common_name)) return refuse("is not on the allow list");
  return absl::OkStatus();
}

absl::StatusOr<Identity> AccessControl::Authenticate(std::string_view token) const {
  return VerifyToken(token_key_, token, absl::Now());
}

}  // namespace muster

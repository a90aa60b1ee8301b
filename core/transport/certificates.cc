#include "core/transport/certificates.h"

#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/rand.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/transport/openssl.h"
#include "core/transport/token.h"

namespace muster {
namespace {

using openssl::Cert;
using openssl::Key;

constexpr int kAuthorityDays = 3650;
// A client whose clock is a little behind must still find a new certificate valid.
constexpr absl::Duration kBackdate = absl::Hours(1);

absl::Status OpenSslError(std::string_view what) {
  return InternalError(absl::StrCat(absl::string_view(what.data(), what.size()), ": ", openssl::TakeError()));
}

// One process at a time works in a directory.
class DirectoryLock {
 public:
  static absl::StatusOr<DirectoryLock> Take(const std::string& directory) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    const int descriptor = open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (descriptor < 0 || flock(descriptor, LOCK_EX) != 0) {
      const std::string why = std::strerror(errno);
      if (descriptor >= 0) close(descriptor);
      return InvalidInput(absl::StrCat(directory, ": ", error ? error.message() : why));
    }
    return DirectoryLock(descriptor);
  }
  DirectoryLock(DirectoryLock&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)) {}
  ~DirectoryLock() {
    if (descriptor_ >= 0) close(descriptor_);
  }

 private:
  explicit DirectoryLock(int descriptor) : descriptor_(descriptor) {}
  int descriptor_;
};

// A new file, whole or not at all, that only its owner (or everyone, if `open_to_all`) can read.
absl::Status WriteNew(const std::string& path, std::string_view text, bool open_to_all) {
  const std::string aside = path + ".new";
  unlink(aside.c_str());
  const int descriptor =
      open(aside.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, open_to_all ? 0644 : 0600);
  if (descriptor < 0) return InvalidInput(absl::StrCat(aside, ": ", std::strerror(errno)));
  const bool written = write(descriptor, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int error = errno;
  if (close(descriptor) != 0 || !written) {
    unlink(aside.c_str());
    return absl::InternalError(absl::StrCat(aside, ": ", std::strerror(error)));
  }
  if (rename(aside.c_str(), path.c_str()) != 0) {
    return absl::InternalError(absl::StrCat(path, ": ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

// "DNS:localhost,IP:127.0.0.1"
std::string SubjectAlternativeNames(const std::vector<std::string>& names) {
  std::vector<std::string> parts;
  for (const std::string& name : names) parts.push_back((openssl::IsAddress(name) ? "IP:" : "DNS:") + name);
  return absl::StrJoin(parts, ",");
}

std::vector<std::string> ServerNames(const std::vector<std::string>& more) {
  std::vector<std::string> names = {"localhost", "127.0.0.1", "::1", "coordinator"};
  char host[256] = {};
  if (gethostname(host, sizeof(host) - 1) == 0 && host[0] != '\0') names.emplace_back(host);
  names.insert(names.end(), more.begin(), more.end());
  std::vector<std::string> unique;
  for (const std::string& name : names) {
    if (std::find(unique.begin(), unique.end(), name) == unique.end()) unique.push_back(name);
  }
  return unique;
}

bool Carries(X509* certificate, const std::string& name) {
  return openssl::IsAddress(name) ? X509_check_ip_asc(certificate, name.c_str(), 0) == 1
                                  : X509_check_host(certificate, name.c_str(), name.size(), 0, nullptr) == 1;
}

struct Subject {
  std::string common_name;
  std::string unit;
};

struct Signer {
  X509* certificate;  // null: the new certificate signs itself
  EVP_PKEY* key;
};

absl::StatusOr<Cert> Sign(const Subject& subject, EVP_PKEY* key, int days, const Signer& signer,
                          const std::vector<std::pair<int, std::string>>& extensions) {
  Cert certificate(X509_new());
  X509* const x = certificate.get();
  X509_set_version(x, X509_VERSION_3);
  unsigned char serial[16];
  if (RAND_bytes(serial, sizeof(serial)) != 1) return OpenSslError("random numbers");
  serial[0] = (serial[0] & 0x7f) | 0x40;  // positive, and always of the same length
  const openssl::Number number(BN_bin2bn(serial, sizeof(serial), nullptr));
  BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(x));
  const absl::Time now = absl::Now();
  ASN1_TIME_set(X509_getm_notBefore(x), absl::ToTimeT(now - kBackdate));
  ASN1_TIME_set(X509_getm_notAfter(x), absl::ToTimeT(now + absl::Hours(24) * days));
  X509_NAME* name = X509_get_subject_name(x);
  const auto add = [name](const char* field, const std::string& value) {
    return X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                      reinterpret_cast<const unsigned char*>(value.data()),
                                      static_cast<int>(value.size()), -1, 0) == 1;
  };
  if (!add("O", "Muster") || (!subject.unit.empty() && !add("OU", subject.unit)) ||
      !add("CN", subject.common_name)) {
    return OpenSslError(subject.common_name);
  }
  X509_set_issuer_name(x, signer.certificate == nullptr ? name : X509_get_subject_name(signer.certificate));
  X509_set_pubkey(x, key);
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, signer.certificate == nullptr ? x : signer.certificate, x, nullptr, nullptr, 0);
  for (const auto& [nid, value] : extensions) {
    const openssl::Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
    if (!extension) return InvalidInput(absl::StrCat("cannot put \"", value, "\" into a certificate"));
    X509_add_ext(x, extension.get(), -1);
  }
  if (X509_sign(x, signer.key, EVP_sha256()) == 0) return OpenSslError("signing");
  return certificate;
}

std::string ToPem(X509* certificate) {
  const openssl::Bio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_X509(bio.get(), certificate);
  return openssl::Contents(bio.get());
}

// The key of a directory's NAME.key, made if it is not there.
absl::StatusOr<Key> KeyFor(const std::string& path, std::vector<std::string>& written) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (text.ok()) {
    Key key = openssl::PrivateKey(*text);
    if (!key) return InvalidInput(path + ": not a private key in PEM form");
    return key;
  }
  if (!absl::IsNotFound(text.status())) return text.status();
  Key key(EVP_EC_gen("P-256"));
  if (!key) return OpenSslError("making a key");
  const openssl::Bio bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PKCS8PrivateKey(bio.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  MUSTER_RETURN_IF_ERROR(WriteNew(path, openssl::Contents(bio.get()), false));
  written.push_back(path);
  return key;
}

absl::StatusOr<Cert> ReadCertificate(const std::string& path) {
  MUSTER_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::vector<Cert> certificates = openssl::Certificates(text);
  if (certificates.empty()) return InvalidInput(path + ": no certificate in PEM form");
  return std::move(certificates.front());
}

struct Authority {
  Cert certificate;
  Key key;
};

absl::StatusOr<Authority> AuthorityIn(const std::string& directory, std::vector<std::string>& written) {
  const std::string path = directory + "/ca.pem", key_path = directory + "/ca.key";
  Authority authority;
  if (std::filesystem::exists(path)) {
    MUSTER_ASSIGN_OR_RETURN(authority.certificate, ReadCertificate(path));
    if (!std::filesystem::exists(key_path)) {
      return InvalidInput(absl::StrCat(key_path, ": not there, so nothing more can be signed by ", path,
                                       ": bring it back, or make new certificates in another folder"));
    }
  }
  MUSTER_ASSIGN_OR_RETURN(authority.key, KeyFor(key_path, written));
  if (authority.certificate) {
    if (X509_check_private_key(authority.certificate.get(), authority.key.get()) != 1) {
      openssl::TakeError();
      return InvalidInput(absl::StrCat(key_path, ": is not the key of ", path));
    }
    return authority;
  }
  // Two authorities must not share a name, or a wrong one could not be told from the right one.
  unsigned char tag[3];
  if (RAND_bytes(tag, sizeof(tag)) != 1) return OpenSslError("random numbers");
  const std::string name =
      absl::StrCat("Muster development CA ",
                   absl::BytesToHexString(absl::string_view(reinterpret_cast<char*>(tag), sizeof(tag))));
  MUSTER_ASSIGN_OR_RETURN(authority.certificate, Sign({name, ""}, authority.key.get(), kAuthorityDays,
                                                      {nullptr, authority.key.get()},
                                                      {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
                                                       {NID_key_usage, "critical,keyCertSign,cRLSign"},
                                                       {NID_subject_key_identifier, "hash"}}));
  MUSTER_RETURN_IF_ERROR(WriteNew(path, ToPem(authority.certificate.get()), true));
  written.push_back(path);
  return authority;
}

// NAME.key and NAME.pem, unless they are there.
absl::Status Issue(const std::string& directory, const std::string& name, const Subject& subject, int days,
                   const Authority& authority, std::vector<std::pair<int, std::string>> extensions,
                   std::vector<std::string>& written) {
  const std::string path = absl::StrCat(directory, "/", name, ".pem");
  if (std::filesystem::exists(path)) return absl::OkStatus();
  MUSTER_ASSIGN_OR_RETURN(const Key key, KeyFor(absl::StrCat(directory, "/", name, ".key"), written));
  extensions.insert(extensions.begin(), {{NID_basic_constraints, "critical,CA:FALSE"},
                                         {NID_key_usage, "critical,digitalSignature"},
                                         {NID_authority_key_identifier, "keyid"}});
  MUSTER_ASSIGN_OR_RETURN(
      const Cert certificate,
      Sign(subject, key.get(), days, {authority.certificate.get(), authority.key.get()}, extensions));
  MUSTER_RETURN_IF_ERROR(WriteNew(path, ToPem(certificate.get()), true));
  written.push_back(path);
  return absl::OkStatus();
}

// A name that is part of a file's name and of a line of a list.
absl::Status CheckName(const std::string& name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.';
  };
  if (name.empty() || name.size() > 64 || name.front() == '.' ||
      !std::all_of(name.begin(), name.end(), fits)) {
    return InvalidInput(
        absl::StrCat("\"", name.substr(0, 80),
                     "\": a name is 1 to 64 letters, digits, '-', '_' and '.', and does not start with '.'"));
  }
  return absl::OkStatus();
}

// A name or address that becomes one entry of a certificate, and nothing but that.
absl::Status CheckServerName(const std::string& name) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '*';
  };
  if (openssl::IsAddress(name) || (!name.empty() && std::all_of(name.begin(), name.end(), fits)))
    return absl::OkStatus();
  return InvalidInput(absl::StrCat("\"", name, "\": not a host name or an IP address"));
}

}  // namespace

absl::StatusOr<Identity> ParseIdentity(std::string_view pem) {
  const std::vector<Cert> certificates = openssl::Certificates(pem);
  if (certificates.empty()) return InvalidInput("no certificate in PEM form");
  X509* const x = certificates.front().get();
  const X509_NAME* subject = X509_get_subject_name(x);
  Identity identity;
  identity.common_name = openssl::NamePart(subject, NID_commonName);
  identity.organizational_unit = openssl::NamePart(subject, NID_organizationalUnitName);
  identity.serial = openssl::SerialHex(X509_get0_serialNumber(x));
  identity.not_before = openssl::ToTime(X509_get0_notBefore(x));
  identity.not_after = openssl::ToTime(X509_get0_notAfter(x));
  unsigned char* der = nullptr;
  const int size = i2d_X509(x, &der);
  if (size < 0) return OpenSslError("encoding a certificate");
  identity.sha256 = Sha256Hex(std::string_view(reinterpret_cast<char*>(der), static_cast<size_t>(size)));
  OPENSSL_free(der);
  return identity;
}

absl::StatusOr<std::vector<std::string>> MakeCertificates(const AuthorityOptions& options) {
  const std::string& directory = options.directory;
  for (const std::string& name : options.server_names) MUSTER_RETURN_IF_ERROR(CheckServerName(name));
  MUSTER_ASSIGN_OR_RETURN(const DirectoryLock lock, DirectoryLock::Take(directory));
  std::vector<std::string> written;
  MUSTER_ASSIGN_OR_RETURN(const Authority authority, AuthorityIn(directory, written));

  const std::string server = directory + "/coordinator.pem";
  if (std::filesystem::exists(server)) {
    MUSTER_ASSIGN_OR_RETURN(const Cert certificate, ReadCertificate(server));
    for (const std::string& name : options.server_names) {
      if (!Carries(certificate.get(), name)) {
        return InvalidInput(absl::StrCat(server, ": is there already and does not carry the name ", name,
                                         ": remove it to have a new one made"));
      }
    }
  }
  const std::pair<int, std::string> for_servers(NID_ext_key_usage, "serverAuth"),
      for_clients(NID_ext_key_usage, "clientAuth");
  MUSTER_RETURN_IF_ERROR(
      Issue(directory, "coordinator", {"coordinator", ""}, options.days, authority,
            {for_servers, {NID_subject_alt_name, SubjectAlternativeNames(ServerNames(options.server_names))}},
            written));
  MUSTER_RETURN_IF_ERROR(Issue(directory, "operator", {"operator", std::string(kOperatorUnit)}, options.days,
                               authority, {for_clients}, written));
  for (int i = 0; i < options.clients; ++i) {
    const std::string name = absl::StrCat("client-", i);
    MUSTER_RETURN_IF_ERROR(
        Issue(directory, name, {name, "client"}, options.days, authority, {for_clients}, written));
  }
  return written;
}

absl::Status Revoke(const std::string& directory, const std::string& name) {
  MUSTER_RETURN_IF_ERROR(CheckName(name));
  const std::string certificate_path = absl::StrCat(directory, "/", name, ".pem");
  const std::string token_path = absl::StrCat(directory, "/", name, ".token");
  const std::string list_path = directory + "/revoked.txt";
  std::vector<std::string> serials;
  if (std::filesystem::exists(certificate_path)) {
    MUSTER_ASSIGN_OR_RETURN(const std::string pem, ReadFile(certificate_path));
    absl::StatusOr<Identity> identity = ParseIdentity(pem);
    if (!identity.ok()) return Annotate(identity.status(), certificate_path);
    serials.push_back(identity->serial);
  }
  if (std::filesystem::exists(token_path)) {
    MUSTER_ASSIGN_OR_RETURN(std::string token, ReadFile(token_path));
    while (!token.empty() && token.back() == '\n') token.pop_back();
    serials.push_back(TokenSerial(token));
  }
  if (serials.empty()) {
    return absl::NotFoundError(absl::StrCat("neither ", certificate_path, " nor ", token_path, " is there"));
  }
  MUSTER_ASSIGN_OR_RETURN(const DirectoryLock lock, DirectoryLock::Take(directory));
  std::string list;
  if (std::filesystem::exists(list_path)) {
    MUSTER_ASSIGN_OR_RETURN(list, ReadFile(list_path));
    if (!list.empty() && list.back() != '\n') list += '\n';
  }
  for (const std::string& serial : serials) {
    if (list.find(serial) != std::string::npos) continue;
    absl::StrAppend(&list, serial, " # ", name, ", ",
                    absl::FormatTime("%Y-%m-%d", absl::Now(), absl::UTCTimeZone()), "\n");
  }
  return WriteFileAtomic(list_path, list, true);
}

absl::StatusOr<std::string> MakeToken(const std::string& directory, const std::string& name, int days) {
  MUSTER_RETURN_IF_ERROR(CheckName(name));
  MUSTER_ASSIGN_OR_RETURN(const DirectoryLock lock, DirectoryLock::Take(directory));
  const std::string path = absl::StrCat(directory, "/", name, ".token"), key_path = directory + "/token.key";
  if (std::filesystem::exists(path)) return InvalidInput(path + ": is there already");
  if (!std::filesystem::exists(key_path)) {
    unsigned char bytes[32];
    if (RAND_bytes(bytes, sizeof(bytes)) != 1) return OpenSslError("random numbers");
    const std::string hex =
        absl::BytesToHexString(absl::string_view(reinterpret_cast<char*>(bytes), sizeof(bytes)));
    MUSTER_RETURN_IF_ERROR(WriteNew(key_path, hex + "\n", false));
  }
  MUSTER_ASSIGN_OR_RETURN(const std::string key, ReadTokenKey(key_path));
  const std::string token = SignToken(key, name, absl::Now() + absl::Hours(24) * days);
  MUSTER_RETURN_IF_ERROR(WriteNew(path, token + "\n", false));
  return token;
}

}  // namespace muster

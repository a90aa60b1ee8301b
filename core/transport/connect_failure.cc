// ExplainConnectFailure: a TLS handshake by hand, with every step's error at hand.
#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "core/transport/credentials.h"
#include "core/transport/endpoint.h"
#include "core/transport/openssl.h"

namespace muster {
namespace {

// A connected socket with timeouts, or why there is none.
absl::StatusOr<int> Dial(const Endpoint& endpoint, double seconds) {
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int error = getaddrinfo(endpoint.host.c_str(), endpoint.port.c_str(), &hints, &found);
      error != 0) {
    return absl::UnavailableError(
        absl::StrCat("there is no host named \"", endpoint.host, "\" (", gai_strerror(error), ")"));
  }
  const absl::Cleanup free_found = [found] { freeaddrinfo(found); };
  std::string why;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    const int descriptor = socket(one->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (descriptor < 0) continue;
    timeval timeout = {};
    timeout.tv_sec = static_cast<time_t>(seconds);
    timeout.tv_usec = static_cast<suseconds_t>((seconds - std::floor(seconds)) * 1e6);
    setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
    setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));  // bounds connect(), too
    if (connect(descriptor, one->ai_addr, one->ai_addrlen) == 0) return descriptor;
    why = errno == ECONNREFUSED  ? "nobody listens there (is the coordinator running?)"
          : errno == EINPROGRESS ? absl::StrCat("no answer within ", seconds, " s (a firewall?)")
                                 : std::strerror(errno);
    close(descriptor);
  }
  return absl::UnavailableError(why);
}

std::string NamesOf(X509* certificate) {
  std::string names;
  const auto add = [&names](std::string_view name) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", absl::string_view(name.data(), name.size()));
  };
  auto* all =
      static_cast<GENERAL_NAMES*>(X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr));
  for (int i = 0; i < sk_GENERAL_NAME_num(all); ++i) {
    const GENERAL_NAME* name = sk_GENERAL_NAME_value(all, i);
    if (name->type == GEN_DNS) {
      add({reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName)),
           static_cast<size_t>(ASN1_STRING_length(name->d.dNSName))});
    } else if (name->type == GEN_IPADD) {
      char text[INET6_ADDRSTRLEN] = "?";
      const int size = ASN1_STRING_length(name->d.iPAddress);
      inet_ntop(size == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof(text));
      add(text);
    }
  }
  GENERAL_NAMES_free(all);
  return names.empty() ? "no name" : names;
}

ConnectFailure Mistake(std::string why) { return {std::move(why), /*permanent=*/true}; }
ConnectFailure Passing(std::string why) { return {std::move(why), /*permanent=*/false}; }

ConnectFailure ServerFault(long error, X509* certificate, const Endpoint& endpoint) {
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return Mistake(absl::StrCat("the coordinator's certificate has expired on ",
                                  absl::FormatTime(openssl::ToTime(X509_get0_notAfter(certificate)))));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return Passing(absl::StrCat("the coordinator's certificate is not valid before ",
                                  absl::FormatTime(openssl::ToTime(X509_get0_notBefore(certificate))),
                                  " (or this machine's clock is wrong)"));
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
      return Mistake(absl::StrCat("wrong name: the coordinator's certificate does not carry \"",
                                  endpoint.host, "\"; it carries ", NamesOf(certificate)));
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
      return Mistake(absl::StrCat("wrong CA: the coordinator's certificate is signed by \"",
                                  openssl::NamePart(X509_get_issuer_name(certificate), NID_commonName),
                                  "\", which is not in the ca.pem given here"));
    default:
      return Mistake(
          absl::StrCat("the coordinator's certificate is not valid: ", X509_verify_cert_error_string(error)));
  }
}

// Verifies as usual and keeps the server's certificate, which OpenSSL forgets when a handshake fails.
int VerifyAndKeep(X509_STORE_CTX* verification, void* kept) {
  X509* const certificate = X509_STORE_CTX_get0_cert(verification);
  if (X509_up_ref(certificate) == 1) static_cast<openssl::Cert*>(kept)->reset(certificate);
  return X509_verify_cert(verification);
}

// One failed handshake's story.
ConnectFailure ProbeTls(const Endpoint& endpoint, const TlsMaterial& tls, int descriptor) {
  const openssl::Context context(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  for (const openssl::Cert& certificate : openssl::Certificates(tls.authority)) {
    X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), certificate.get());
  }
  if (!tls.certificate.empty()) {
    const std::vector<openssl::Cert> chain = openssl::Certificates(tls.certificate);
    const openssl::Key key = openssl::PrivateKey(tls.key);
    SSL_CTX_use_certificate(context.get(), chain.front().get());
    for (size_t i = 1; i < chain.size(); ++i) SSL_CTX_add1_chain_cert(context.get(), chain[i].get());
    SSL_CTX_use_PrivateKey(context.get(), key.get());
  }
  // Verifying in the handshake tells the coordinator, by an alert, what this side found.
  openssl::Cert server;
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  SSL_CTX_set_cert_verify_callback(context.get(), VerifyAndKeep, &server);
  const openssl::Connection connection(SSL_new(context.get()));
  SSL* const ssl = connection.get();
  if (openssl::IsAddress(endpoint.host)) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), endpoint.host.c_str());
  } else {
    SSL_set_tlsext_host_name(ssl, endpoint.host.c_str());
    SSL_set1_host(ssl, endpoint.host.c_str());
  }
  static constexpr unsigned char kHttp2[] = {2, 'h', '2'};
  SSL_set_alpn_protos(ssl, kHttp2, sizeof(kHttp2));
  SSL_set_fd(ssl, descriptor);
  ERR_clear_error();
  if (const int result = SSL_connect(ssl); result != 1) {
    const int error = SSL_get_error(ssl, result);
    const long verified = SSL_get_verify_result(ssl);
    if (server != nullptr && verified != X509_V_OK) {
      openssl::TakeError();
      return ServerFault(verified, server.get(), endpoint);
    }
    const std::string reason = openssl::TakeError();
    if (absl::StrContains(reason, "wrong version number") ||
        absl::StrContains(reason, "packet length too long")) {
      return Mistake("the coordinator speaks plain text there, not TLS (started with --insecure?)");
    }
    if (absl::StrContains(reason, "alert"))
      return Mistake(absl::StrCat("the coordinator refuses the TLS handshake: ", reason));
    if (error == SSL_ERROR_WANT_READ || (error == SSL_ERROR_SYSCALL && errno == EAGAIN)) {
      return Passing("the other side accepts the connection and then says nothing");
    }
    return Passing("the other side closed the connection during the TLS handshake");
  }
  // In TLS 1.3 the coordinator judges this side's certificate after this side has finished. If it is content,
  // it speaks first (HTTP/2 settings).
  char byte = 0;
  if (SSL_read(ssl, &byte, 1) == 1) return {};
  const std::string reason = openssl::TakeError();  // empty: it may have been the network
  if (tls.certificate.empty()) {
    return {
        "the coordinator closed the connection after the handshake: it wants a client certificate, and none "
        "is "
        "given",
        /*permanent=*/!reason.empty()};
  }
  const absl::Time now = absl::Now();
  std::string why = "not signed by the CA it trusts, or its clock differs; its log says which";
  if (now > tls.identity.not_after)
    why = absl::StrCat("expired on ", absl::FormatTime(tls.identity.not_after));
  if (now < tls.identity.not_before)
    why = absl::StrCat("not valid before ", absl::FormatTime(tls.identity.not_before));
  const bool permanent = !reason.empty() && now >= tls.identity.not_before;
  return {absl::StrCat("the coordinator refuses this client's certificate, \"", tls.identity.common_name,
                       "\": ", why, reason.empty() ? "" : absl::StrCat(" (", reason, ")")),
          permanent};
}

// Whether the other side answers as a TLS server does.
bool SpeaksTls(const Endpoint& endpoint, double seconds) {
  const absl::StatusOr<int> descriptor = Dial(endpoint, seconds);
  if (!descriptor.ok()) return false;
  const absl::Cleanup close_it = [&] { close(*descriptor); };
  const openssl::Context context(SSL_CTX_new(TLS_client_method()));
  const openssl::Connection connection(SSL_new(context.get()));
  SSL_set_fd(connection.get(), *descriptor);
  ERR_clear_error();
  const bool shaken = SSL_connect(connection.get()) == 1;
  openssl::TakeError();
  return shaken || SSL_get0_peer_certificate(connection.get()) != nullptr;
}

// A plain HTTP/2 client's first words, and what comes back.
ConnectFailure ProbePlain(const Endpoint& endpoint, int descriptor, double seconds) {
  static constexpr char kPreface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
  if (send(descriptor, kPreface, sizeof(kPreface) - 1, MSG_NOSIGNAL) < 0)
    return Passing("the other side closed the connection");
  unsigned char first = 0;
  const ssize_t got = recv(descriptor, &first, 1, 0);
  constexpr unsigned char kTlsAlert = 0x15;
  if (got == 1 && first != kTlsAlert) return {};
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
    return Passing("the other side accepts the connection and then says nothing");
  }
  if (got != 1 && !SpeaksTls(endpoint, seconds)) {
    return Passing("the other side accepts the connection and closes it at once");
  }
  return Mistake(
      "the coordinator speaks TLS there, not plain text: give the client its certificates instead of "
      "--insecure");
}

}  // namespace

ConnectFailure ExplainConnectFailure(const std::string& address, const TlsMaterial* tls, double seconds) {
  const Endpoint endpoint = ParseEndpoint(address);
  const absl::StatusOr<int> descriptor = Dial(endpoint, seconds);
  if (!descriptor.ok()) return Passing(absl::StrCat(address, ": ", Message(descriptor.status())));
  const absl::Cleanup close_it = [&] { close(*descriptor); };
  ConnectFailure failure =
      tls == nullptr ? ProbePlain(endpoint, *descriptor, seconds) : ProbeTls(endpoint, *tls, *descriptor);
  if (!failure.why.empty()) failure.why = absl::StrCat(address, ": ", failure.why);
  return failure;
}

}  // namespace muster

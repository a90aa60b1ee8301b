#include "core/transport/credentials.h"

#include <grpcpp/security/auth_metadata_processor.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "core/file.h"
#include "core/transport/handshake_log.h"
#include "core/transport/openssl.h"

namespace muster {
namespace {

// Where the access processor leaves a token that it has verified, for PeerIdentity. A peer cannot set it:
// properties of a connection come from its handshake and from the processor alone.
constexpr char kTokenNameProperty[] = "muster_token_name";
constexpr char kTokenSerialProperty[] = "muster_token_serial";

openssl::Store TrustStore(std::string_view authority) {
  openssl::Store store(X509_STORE_new());
  for (const openssl::Cert& certificate : openssl::Certificates(authority)) {
    X509_STORE_add_cert(store.get(), certificate.get());
  }
  return store;
}

// X509_V_OK, or what is wrong with the first certificate of `chain`, the others being intermediate ones.
int VerifyChain(X509_STORE* trusted, const std::vector<openssl::Cert>& chain, int purpose) {
  STACK_OF(X509)* intermediates = sk_X509_new_null();
  for (size_t i = 1; i < chain.size(); ++i) sk_X509_push(intermediates, chain[i].get());
  const openssl::StoreContext context(X509_STORE_CTX_new());
  int error = X509_V_ERR_UNSPECIFIED;
  if (X509_STORE_CTX_init(context.get(), trusted, chain.front().get(), intermediates) == 1) {
    X509_STORE_CTX_set_purpose(context.get(), purpose);
    error = X509_verify_cert(context.get()) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(context.get());
    if (error == X509_V_OK && X509_STORE_CTX_get_error(context.get()) != X509_V_OK)
      error = X509_V_ERR_UNSPECIFIED;
  }
  sk_X509_free(intermediates);
  openssl::TakeError();
  return error;
}

std::string AuthorityNames(std::string_view authority) {
  std::string names;
  for (const openssl::Cert& certificate : openssl::Certificates(authority)) {
    absl::StrAppend(&names, names.empty() ? "" : ", ", "\"",
                    openssl::NamePart(X509_get_subject_name(certificate.get()), NID_commonName), "\"");
  }
  return names;
}

// "has expired on ...", "is signed by ..., not by ...": continues "the certificate".
std::string Fault(int error, X509* certificate, const std::string& authority_names) {
  switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
      return absl::StrCat("has expired on ",
                          absl::FormatTime(openssl::ToTime(X509_get0_notAfter(certificate))));
    case X509_V_ERR_CERT_NOT_YET_VALID:
      return absl::StrCat("is not valid before ",
                          absl::FormatTime(openssl::ToTime(X509_get0_notBefore(certificate))),
                          " (or this machine's clock is wrong)");
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
      return absl::StrCat("is signed by \"",
                          openssl::NamePart(X509_get_issuer_name(certificate), NID_commonName), "\", not by ",
                          authority_names, " (wrong CA)");
    case X509_V_ERR_INVALID_PURPOSE:
      return "was made for another purpose (a client's for a server, or a server's for a client)";
    default:
      return absl::StrCat("is not valid: ", X509_verify_cert_error_string(error));
  }
}

// Checks clients' certificates in the handshake and names what is wrong with one, which gRPC's own check does
// not.
class ClientCertificateVerifier : public grpc::experimental::ExternalCertificateVerifier {
 public:
  ClientCertificateVerifier(std::string authority, bool required, LogLine log)
      : trusted_(TrustStore(authority)),
        authority_names_(AuthorityNames(authority)),
        required_(required),
        log_(std::move(log)) {}

  bool Verify(grpc::experimental::TlsCustomVerificationCheckRequest* request,
              std::function<void(grpc::Status)>, grpc::Status* status) override {
    const std::string fault = FaultOf(*request);
    if (!fault.empty()) {
      if (log_) log_(absl::StrCat("TLS handshake refused: ", fault));
      *status = grpc::Status(grpc::StatusCode::UNAUTHENTICATED, fault);
    }
    return true;
  }
  void Cancel(grpc::experimental::TlsCustomVerificationCheckRequest*) override {}

 private:
  std::string FaultOf(const grpc::experimental::TlsCustomVerificationCheckRequest& request) const {
    const grpc::string_ref leaf = request.peer_cert(), chain = request.peer_cert_full_chain();
    const std::vector<openssl::Cert> peer = openssl::Certificates({leaf.data(), leaf.size()});
    if (peer.empty()) {
      return required_ ? "a client has no certificate, and one is required (no client certificate)" : "";
    }
    std::vector<openssl::Cert> certificates = openssl::Certificates({chain.data(), chain.size()});
    if (certificates.empty() || X509_cmp(certificates.front().get(), peer.front().get()) != 0) {
      certificates = openssl::Certificates({leaf.data(), leaf.size()});
    }
    X509* const own = certificates.front().get();
    const int error = VerifyChain(trusted_.get(), certificates, X509_PURPOSE_SSL_CLIENT);
    if (error == X509_V_OK) return "";
    return absl::StrCat(
        "the certificate of \"", openssl::NamePart(X509_get_subject_name(own), NID_commonName), "\" (serial ",
        openssl::SerialHex(X509_get0_serialNumber(own)), ") ", Fault(error, own, authority_names_));
  }

  const openssl::Store trusted_;
  const std::string authority_names_;
  const bool required_;
  const LogLine log_;
};

const grpc_ssl_client_certificate_request_type kAskForCertificate =
    GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_BUT_DONT_VERIFY;

std::string Property(const grpc::AuthContext& context, const char* name) {
  const std::vector<grpc::string_ref> values = context.FindPropertyValues(name);
  return values.empty() ? "" : std::string(values.front().data(), values.front().size());
}

absl::StatusOr<Identity> IdentityOf(const grpc::AuthContext& context) {
  const std::string pem = Property(context, GRPC_X509_PEM_CERT_PROPERTY_NAME);
  if (!pem.empty()) return ParseIdentity(pem);
  Identity identity;
  identity.common_name = Property(context, kTokenNameProperty);
  identity.serial = Property(context, kTokenSerialProperty);
  if (identity.common_name.empty()) return absl::UnauthenticatedError("neither a certificate nor a token");
  return identity;
}

grpc::Status ToGrpc(const absl::Status& status) {
  return {static_cast<grpc::StatusCode>(status.code()), Message(status)};
}

// Runs before every call's handler.
class AccessProcessor : public grpc::AuthMetadataProcessor {
 public:
  AccessProcessor(std::shared_ptr<AccessControl> access, LogLine log)
      : access_(std::move(access)), log_(std::move(log)) {}

  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* context, OutputMetadata* consumed,
                       OutputMetadata*) override {
    const absl::StatusOr<Identity> identity = Authenticate(metadata, context, consumed);
    const absl::Status status = identity.ok() ? access_->Authorize(*identity) : identity.status();
    if (!status.ok() && log_) log_(absl::StrCat("call refused: ", status.message()));
    return status.ok() ? grpc::Status::OK : ToGrpc(status);
  }

 private:
  absl::StatusOr<Identity> Authenticate(const InputMetadata& metadata, grpc::AuthContext* context,
                                        OutputMetadata* consumed) const {
    const auto header = metadata.find("authorization");
    constexpr std::string_view kBearer = "Bearer ";
    if (!access_->accepts_tokens() || header == metadata.end() ||
        !Property(*context, GRPC_X509_PEM_CERT_PROPERTY_NAME).empty()) {
      absl::StatusOr<Identity> identity = IdentityOf(*context);
      // A connection that once showed a token is not excused from showing it.
      if (identity.ok() && Property(*context, GRPC_X509_PEM_CERT_PROPERTY_NAME).empty()) {
        return absl::UnauthenticatedError("neither a certificate nor a token");
      }
      return identity;
    }
    const std::string_view value(header->second.data(), header->second.size());
    if (!value.starts_with(kBearer))
      return absl::UnauthenticatedError("authorization is not \"Bearer TOKEN\"");
    MUSTER_ASSIGN_OR_RETURN(Identity identity, access_->Authenticate(value.substr(kBearer.size())));
    const std::string known = Property(*context, kTokenSerialProperty);
    if (known.empty()) {
      context->AddProperty(kTokenNameProperty, identity.common_name);
      context->AddProperty(kTokenSerialProperty, identity.serial);
    } else if (known != identity.serial) {
      return absl::UnauthenticatedError("one connection carries one token, and this one came with another");
    }
    consumed->emplace("authorization", std::string(value));
    return identity;
  }

  const std::shared_ptr<AccessControl> access_;
  const LogLine log_;
};

absl::StatusOr<std::string> ReadPem(const std::string& path, std::string_view what) {
  absl::StatusOr<std::string> text = ReadFile(path);
  if (absl::IsNotFound(text.status())) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file (",
                                            absl::string_view(what.data(), what.size()),
                                            "); `muster certs DIR` makes certificates for development"));
  }
  return text;
}

}  // namespace

TlsFiles TlsFilesIn(const std::string& directory, const std::string& name) {
  return {absl::StrCat(directory, "/ca.pem"), absl::StrCat(directory, "/", name, ".pem"),
          absl::StrCat(directory, "/", name, ".key")};
}

absl::StatusOr<TlsMaterial> LoadTls(const TlsFiles& files, TlsRole role) {
  TlsMaterial tls;
  tls.role = role;
  MUSTER_ASSIGN_OR_RETURN(tls.authority, ReadPem(files.authority, "the authority's certificate"));
  if (openssl::Certificates(tls.authority).empty()) {
    return InvalidInput(absl::StrCat(files.authority, ": no certificate in PEM form"));
  }
  if (role == TlsRole::kClient && files.certificate.empty() && files.key.empty()) return tls;

  MUSTER_ASSIGN_OR_RETURN(tls.certificate, ReadPem(files.certificate, "the own certificate"));
  MUSTER_ASSIGN_OR_RETURN(tls.key, ReadPem(files.key, "the own key"));
  const std::vector<openssl::Cert> chain = openssl::Certificates(tls.certificate);
  if (chain.empty()) return InvalidInput(absl::StrCat(files.certificate, ": no certificate in PEM form"));
  const openssl::Key key = openssl::PrivateKey(tls.key);
  if (!key) {
    return InvalidInput(
        absl::StrCat(files.key, ": no private key in PEM form (one without a pass phrase is needed)"));
  }
  if (X509_check_private_key(chain.front().get(), key.get()) != 1) {
    openssl::TakeError();
    return InvalidInput(absl::StrCat(files.key, ": is not the key of ", files.certificate));
  }
  const openssl::Store trusted = TrustStore(tls.authority);
  const int error = VerifyChain(trusted.get(), chain,
                                role == TlsRole::kServer ? X509_PURPOSE_SSL_SERVER : X509_PURPOSE_SSL_CLIENT);
  if (error != X509_V_OK) {
    return InvalidInput(absl::StrCat(files.certificate, ": the certificate ",
                                     Fault(error, chain.front().get(), AuthorityNames(tls.authority))));
  }
  MUSTER_ASSIGN_OR_RETURN(tls.identity, ParseIdentity(tls.certificate));
  return tls;
}

std::shared_ptr<grpc::ServerCredentials> MakeServerCredentials(const TlsMaterial& tls,
                                                               std::shared_ptr<AccessControl> access,
                                                               LogLine log) {
  SendGrpcErrorsTo(log);
  grpc::experimental::TlsServerCredentialsOptions options(
      std::make_shared<grpc::experimental::StaticDataCertificateProvider>(
          tls.authority, std::vector<grpc::experimental::IdentityKeyCertPair>{
                             {.private_key = tls.key, .certificate_chain = tls.certificate}}));
  options.watch_root_certs();
  options.watch_identity_key_cert_pairs();
  // Verified by the verifier, which says why; the handshake itself proves that the client holds the
  // certificate's key.
  options.set_cert_request_type(kAskForCertificate);
  options.set_certificate_verifier(
      grpc::experimental::ExternalCertificateVerifier::Create<ClientCertificateVerifier>(
          tls.authority, !access->accepts_tokens(), log));
  std::shared_ptr<grpc::ServerCredentials> credentials = grpc::experimental::TlsServerCredentials(options);
  credentials->SetAuthMetadataProcessor(std::make_shared<AccessProcessor>(std::move(access), std::move(log)));
  return credentials;
}

std::shared_ptr<grpc::ChannelCredentials> MakeChannelCredentials(const TlsMaterial& tls,
                                                                 const std::string& token) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = tls.authority;
  options.pem_cert_chain = tls.certificate;
  options.pem_private_key = tls.key;
  std::shared_ptr<grpc::ChannelCredentials> credentials = grpc::SslCredentials(options);
  if (token.empty()) return credentials;
  return grpc::CompositeChannelCredentials(credentials, grpc::AccessTokenCredentials(token));
}

absl::StatusOr<Identity> PeerIdentity(const grpc::ServerContextBase& context) {
  const std::shared_ptr<const grpc::AuthContext> auth = context.auth_context();
  if (auth == nullptr) return absl::UnauthenticatedError("neither a certificate nor a token");
  return IdentityOf(*auth);
}

}  // namespace muster

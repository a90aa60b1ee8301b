// Real handshakes on loopback: who gets in, and what each side says when one does not.
#include "core/transport/credentials.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <condition_variable>
#include <mutex>

#include "core/transport/endpoint.h"
#include "core/transport/plain_listener.h"
#include "muster/v1/control.grpc.pb.h"
#include "tests/transport/certificate_folder.h"

namespace muster {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;

// Answers with the caller's identity.
class WhoAmI : public v1::Control::CallbackService {
 public:
  grpc::ServerUnaryReactor* GetStatus(grpc::CallbackServerContext* context, const v1::GetStatusRequest*,
                                      v1::Status* status) override {
    const auto identity = PeerIdentity(*context);
    status->set_name(identity.ok() ? identity->common_name + "/" + identity->organizational_unit : "nobody");
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }
};

class Server {
 public:
  // Null `tls`: plain text.
  Server(const TlsMaterial* tls, const AccessControl::Files& lists = {}) {
    const LogLine log = [written = log_](std::string_view line) {
      const std::lock_guard lock(written->mutex);
      written->lines.emplace_back(line);
      written->more.notify_all();
    };
    grpc::ServerBuilder builder;
    if (tls == nullptr) {
      auto listener = PlainListener::Open(builder, "127.0.0.1:0", log);
      EXPECT_TRUE(listener.ok()) << listener.status();
      plain_ = *std::move(listener);
      port_ = plain_->port();
    } else {
      auto access = AccessControl::Open(lists, tls->authority, log);
      EXPECT_TRUE(access.ok()) << access.status();
      builder.AddListeningPort("127.0.0.1:0", MakeServerCredentials(*tls, *access, log), &port_);
    }
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    EXPECT_NE(server_, nullptr);
    if (plain_ != nullptr) plain_->Start();
  }
  ~Server() {
    plain_.reset();
    server_->Shutdown(std::chrono::system_clock::now());
  }

  std::string Address(const std::string& host = "localhost") const {
    return host + ":" + std::to_string(port_);
  }
  // Whether the server says, or has said, a line with these words. It may learn of a failure after the
  // client.
  bool Says(const std::vector<std::string>& words) const {
    const auto said = [&] {
      return std::any_of(log_->lines.begin(), log_->lines.end(), [&](const std::string& line) {
        return std::all_of(words.begin(), words.end(),
                           [&](const std::string& word) { return line.find(word) != std::string::npos; });
      });
    };
    std::unique_lock lock(log_->mutex);
    return log_->more.wait_for(lock, std::chrono::seconds(20), said);
  }
  std::vector<std::string> lines() const {
    const std::lock_guard lock(log_->mutex);
    return log_->lines;
  }

 private:
  struct Log {
    std::mutex mutex;
    std::condition_variable more;
    std::vector<std::string> lines;
  };
  const std::shared_ptr<Log> log_ = std::make_shared<Log>();
  WhoAmI service_;
  int port_ = 0;
  std::unique_ptr<PlainListener> plain_;
  std::unique_ptr<grpc::Server> server_;
};

// One call's status; `name` is the identity the server saw.
grpc::Status Call(const std::string& address, std::shared_ptr<grpc::ChannelCredentials> credentials,
                  std::string& name) {
  const auto stub = v1::Control::NewStub(grpc::CreateChannel(address, credentials));
  grpc::ClientContext context;
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(20));
  v1::Status status;
  const grpc::Status result = stub->GetStatus(&context, {}, &status);
  name = status.name();
  return result;
}
grpc::Status Call(const std::string& address, std::shared_ptr<grpc::ChannelCredentials> credentials) {
  std::string name;
  return Call(address, std::move(credentials), name);
}

TlsMaterial Tls(const CertificateFolder& folder, const std::string& name, TlsRole role = TlsRole::kClient) {
  auto tls = LoadTls(TlsFilesIn(folder.path(), name), role);
  EXPECT_TRUE(tls.ok()) << tls.status();
  return *std::move(tls);
}

// As a process would hold it whose files were fine when it started, or whose clock says otherwise.
TlsMaterial Unchecked(const CertificateFolder& folder, const std::string& name) {
  TlsMaterial tls;
  tls.authority = *ReadFile(folder.File("ca.pem"));
  tls.certificate = *ReadFile(folder.File(name + ".pem"));
  tls.key = *ReadFile(folder.File(name + ".key"));
  tls.identity = *ParseIdentity(tls.certificate);
  return tls;
}

class CredentialsTest : public testing::Test {
 protected:
  TlsMaterial ServerTls() const { return Tls(folder_, "coordinator", TlsRole::kServer); }
  absl::Status Load(const std::string& name, TlsRole role = TlsRole::kClient) const {
    return LoadTls(TlsFilesIn(folder_.path(), name), role).status();
  }
  const CertificateFolder folder_{"credentials"};
};

TEST_F(CredentialsTest, TheServerKnowsWhoCalls) {
  const TlsMaterial tls = ServerTls();
  Server server(&tls);
  for (const std::string host : {"localhost", "127.0.0.1", "dns:///localhost"}) {
    std::string name;
    const grpc::Status status =
        Call(server.Address(host), MakeChannelCredentials(Tls(folder_, "client-1")), name);
    EXPECT_TRUE(status.ok()) << host << ": " << status.error_message();
    EXPECT_EQ(name, "client-1/client");
  }
  const TlsMaterial client = Tls(folder_, "client-0");
  EXPECT_EQ(ExplainConnectFailure(server.Address(), &client).why, "");
  EXPECT_THAT(server.lines(), IsEmpty());
}

TEST_F(CredentialsTest, RevocationAndAllowListHoldForEveryCallWithoutARestart) {
  ASSERT_TRUE(WriteFileAtomic(folder_.File("allow.txt"), "client-0\n").ok());
  const TlsMaterial tls = ServerTls();
  Server server(
      &tls, {.allow = folder_.File("allow.txt"), .revoked = folder_.File("revoked.txt"), .token_key = ""});
  const auto channel = MakeChannelCredentials(Tls(folder_, "client-0"));
  EXPECT_TRUE(Call(server.Address(), channel).ok());
  EXPECT_TRUE(Call(server.Address(), MakeChannelCredentials(Tls(folder_, "operator"))).ok());
  const grpc::Status stranger = Call(server.Address(), MakeChannelCredentials(Tls(folder_, "client-1")));
  EXPECT_EQ(stranger.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(stranger.error_message(), HasSubstr("\"client-1\""));

  ASSERT_TRUE(Revoke(folder_.path(), "client-0").ok());
  const grpc::Status revoked = Call(server.Address(), channel);
  EXPECT_EQ(revoked.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_THAT(revoked.error_message(), HasSubstr("is revoked"));
  EXPECT_TRUE(server.Says({"is revoked"}));
}

TEST_F(CredentialsTest, ATokenStandsForACertificateWhereTheCoordinatorTakesTokens) {
  const std::string token = *MakeToken(folder_.path(), "phone", 1);
  const TlsMaterial tls = ServerTls();
  Server server(
      &tls, {.allow = "", .revoked = folder_.File("revoked.txt"), .token_key = folder_.File("token.key")});
  const auto material = LoadTls({folder_.File("ca.pem"), "", ""}, TlsRole::kClient);
  ASSERT_TRUE(material.ok()) << material.status();
  std::string name;
  const grpc::Status status = Call(server.Address(), MakeChannelCredentials(*material, token), name);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(name, "phone/");
  EXPECT_EQ(Call(server.Address(), MakeChannelCredentials(*material)).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(Call(server.Address(), MakeChannelCredentials(*material, token + "0")).error_code(),
            grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_TRUE(Call(server.Address(), MakeChannelCredentials(Tls(folder_, "client-0"))).ok());

  ASSERT_TRUE(Revoke(folder_.path(), "phone").ok());
  EXPECT_EQ(Call(server.Address(), MakeChannelCredentials(*material, token)).error_code(),
            grpc::StatusCode::PERMISSION_DENIED);
}

TEST_F(CredentialsTest, FilesAreCheckedAtStart) {
  EXPECT_THAT(Message(Load("client-9")),
              AllOf(HasSubstr("client-9.pem: no such file"), HasSubstr("muster certs")));
  EXPECT_THAT(Message(Load("coordinator")), HasSubstr("another purpose"));
  EXPECT_THAT(Message(Load("client-0", TlsRole::kServer)), HasSubstr("another purpose"));

  std::filesystem::copy_file(folder_.File("client-1.key"), folder_.File("client-0.key"),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(Message(Load("client-0")), HasSubstr("client-0.key: is not the key of"));
  ASSERT_TRUE(WriteFileAtomic(folder_.File("client-0.key"), "rubbish").ok());
  EXPECT_THAT(Message(Load("client-0")), HasSubstr("client-0.key: no private key in PEM form"));

  folder_.Reissue("client-1", -7200, -3600);
  EXPECT_THAT(Message(Load("client-1")), HasSubstr("client-1.pem: the certificate has expired on"));
  folder_.Reissue("client-1", 3600, 7200);
  EXPECT_THAT(Message(Load("client-1")), HasSubstr("is not valid before"));

  const CertificateFolder other("credentials-other");
  std::filesystem::copy_file(other.File("ca.pem"), folder_.File("ca.pem"),
                             std::filesystem::copy_options::overwrite_existing);
  EXPECT_THAT(Message(Load("operator")), HasSubstr("(wrong CA)"));
  ASSERT_TRUE(WriteFileAtomic(folder_.File("ca.pem"), "").ok());
  EXPECT_THAT(Message(Load("operator")), HasSubstr("ca.pem: no certificate in PEM form"));
}

// ------------------------------------------------------------------------- every mistake, and what each side
// says

TEST_F(CredentialsTest, TheClientsCertificateHasExpired) {
  folder_.Reissue("client-0", -7200, -3600);
  const TlsMaterial tls = ServerTls(), client = Unchecked(folder_, "client-0");
  Server server(&tls);
  EXPECT_EQ(Call(server.Address(), MakeChannelCredentials(client)).error_code(),
            grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(ExplainConnectFailure(server.Address(), &client).why,
              AllOf(HasSubstr("refuses this client's certificate, \"client-0\""), HasSubstr("expired on")));
  EXPECT_TRUE(server.Says({"\"client-0\"", "has expired on"}));
}

TEST_F(CredentialsTest, TheClientsCertificateIsNotYetValid) {
  folder_.Reissue("client-0", 3600, 7200);
  const TlsMaterial tls = ServerTls(), client = Unchecked(folder_, "client-0");
  Server server(&tls);
  EXPECT_FALSE(Call(server.Address(), MakeChannelCredentials(client)).ok());
  EXPECT_THAT(ExplainConnectFailure(server.Address(), &client).why, HasSubstr("not valid before"));
  EXPECT_FALSE(ExplainConnectFailure(server.Address(), &client).permanent);
  EXPECT_TRUE(server.Says({"\"client-0\"", "is not valid before"}));
}

TEST_F(CredentialsTest, TheClientsCertificateIsFromAnotherAuthority) {
  const CertificateFolder other("credentials-foreign");
  const TlsMaterial tls = ServerTls();
  TlsMaterial client = Unchecked(other, "client-0");
  client.authority = tls.authority;  // trusts the coordinator, who does not trust it
  Server server(&tls);
  EXPECT_FALSE(Call(server.Address(), MakeChannelCredentials(client)).ok());
  EXPECT_THAT(ExplainConnectFailure(server.Address(), &client).why,
              HasSubstr("not signed by the CA it trusts"));
  EXPECT_TRUE(ExplainConnectFailure(server.Address(), &client).permanent);
  EXPECT_TRUE(server.Says({"\"client-0\"", "(wrong CA)"}));
}

TEST_F(CredentialsTest, TheCoordinatorIsFromAnotherAuthority) {
  const CertificateFolder other("credentials-foreign");
  const TlsMaterial tls = ServerTls(), client = Tls(other, "client-0");
  Server server(&tls);
  EXPECT_FALSE(Call(server.Address(), MakeChannelCredentials(client)).ok());
  EXPECT_THAT(ExplainConnectFailure(server.Address(), &client).why, HasSubstr("wrong CA"));
  EXPECT_TRUE(ExplainConnectFailure(server.Address(), &client).permanent);
  EXPECT_TRUE(server.Says({"(wrong CA)"}));
}

TEST_F(CredentialsTest, ThereIsNoClientCertificate) {
  const TlsMaterial tls = ServerTls();
  const auto client = LoadTls({folder_.File("ca.pem"), "", ""}, TlsRole::kClient);
  ASSERT_TRUE(client.ok()) << client.status();
  Server server(&tls);
  EXPECT_FALSE(Call(server.Address(), MakeChannelCredentials(*client)).ok());
  EXPECT_THAT(ExplainConnectFailure(server.Address(), &*client).why, HasSubstr("wants a client certificate"));
  EXPECT_TRUE(ExplainConnectFailure(server.Address(), &*client).permanent);
  EXPECT_TRUE(server.Says({"(no client certificate)"}));
}

TEST_F(CredentialsTest, TheCoordinatorsCertificateHasExpired) {
  TlsMaterial tls = ServerTls();
  folder_.Reissue("coordinator", -7200, -3600);
  tls.certificate = *ReadFile(folder_.File("coordinator.pem"));
  const TlsMaterial client = Tls(folder_, "client-0");
  Server server(&tls);
  EXPECT_FALSE(Call(server.Address(), MakeChannelCredentials(client)).ok());
  EXPECT_THAT(ExplainConnectFailure(server.Address(), &client).why, HasSubstr("certificate has expired on"));
  EXPECT_TRUE(ExplainConnectFailure(server.Address(), &client).permanent);
  EXPECT_TRUE(server.Says({"it has expired"}));
}

TEST_F(CredentialsTest, TheCoordinatorsCertificateIsNotYetValid) {
  TlsMaterial tls = ServerTls();
  folder_.Reissue("coordinator", 3600, 7200);
  tls.certificate = *ReadFile(folder_.File("coordinator.pem"));
  const TlsMaterial client = Tls(folder_, "client-0");
  Server server(&tls);
  EXPECT_FALSE(Call(server.Address(), MakeChannelCredentials(client)).ok());
  EXPECT_THAT(ExplainConnectFailure(server.Address(), &client).why, HasSubstr("is not valid before"));
  EXPECT_FALSE(ExplainConnectFailure(server.Address(), &client).permanent);
  EXPECT_TRUE(server.Says({"not yet valid"}));
}

TEST_F(CredentialsTest, TheCoordinatorGoesByAnotherName) {
  folder_.Reissue("coordinator", -3600, 3600, "DNS:fl.example.org,IP:192.0.2.1");
  const TlsMaterial tls = ServerTls(), client = Tls(folder_, "client-0");
  Server server(&tls);
  for (const std::string host : {"localhost", "127.0.0.1"}) {
    EXPECT_FALSE(Call(server.Address(host), MakeChannelCredentials(client)).ok());
    EXPECT_THAT(ExplainConnectFailure(server.Address(host), &client).why,
                AllOf(HasSubstr("wrong name"), HasSubstr(host), HasSubstr("fl.example.org, 192.0.2.1")));
  }
  EXPECT_TRUE(server.Says({"wrong name"}));
}

TEST_F(CredentialsTest, TlsAgainstPlainText) {
  const TlsMaterial client = Tls(folder_, "client-0");
  Server server(nullptr);
  EXPECT_FALSE(Call(server.Address(), MakeChannelCredentials(client)).ok());
  EXPECT_THAT(ExplainConnectFailure(server.Address(), &client).why,
              HasSubstr("speaks plain text there, not TLS"));
  EXPECT_TRUE(ExplainConnectFailure(server.Address(), &client).permanent);
  EXPECT_TRUE(server.Says({"at 127.0.0.1 speaks TLS to this plain-text port"}));
}

TEST_F(CredentialsTest, PlainTextWhereItWasAskedFor) {
  Server server(nullptr);
  std::string name;
  const grpc::Status status = Call(server.Address(), grpc::InsecureChannelCredentials(), name);
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(name, "nobody");
  EXPECT_EQ(ExplainConnectFailure(server.Address(), nullptr).why, "");
}

TEST(PlainListener, AnAddressThatCannotBeListenedOnIsNamed) {
  grpc::ServerBuilder builder;
  EXPECT_THAT(Message(PlainListener::Open(builder, "192.0.2.1:7443", nullptr).status()),
              HasSubstr("cannot listen on 192.0.2.1:7443"));
}

TEST(Endpoint, IsTakenApart) {
  for (const auto& [address, host, port] :
       std::vector<std::array<std::string, 3>>{{"coordinator:7443", "coordinator", "7443"},
                                               {"dns:///a.example:1", "a.example", "1"},
                                               {"dns://8.8.8.8/a.example:1", "a.example", "1"},
                                               {"ipv4:127.0.0.1:80", "127.0.0.1", "80"},
                                               {"ipv6:[::1]:80", "::1", "80"},
                                               {"[::1]:7443", "::1", "7443"},
                                               {"a.example", "a.example", "443"}}) {
    EXPECT_EQ(ParseEndpoint(address).host, host) << address;
    EXPECT_EQ(ParseEndpoint(address).port, port) << address;
  }
}

TEST_F(CredentialsTest, PlainTextAgainstTls) {
  const TlsMaterial tls = ServerTls();
  Server server(&tls);
  EXPECT_FALSE(Call(server.Address(), grpc::InsecureChannelCredentials()).ok());
  EXPECT_THAT(ExplainConnectFailure(server.Address(), nullptr).why, HasSubstr("speaks TLS there"));
  EXPECT_TRUE(ExplainConnectFailure(server.Address(), nullptr).permanent);
  EXPECT_TRUE(server.Says({"speaks plain text to this TLS port"}));
}

TEST_F(CredentialsTest, NobodyListensOrThereIsNoSuchHost) {
  const TlsMaterial client = Tls(folder_, "client-0");
  EXPECT_THAT(ExplainConnectFailure("127.0.0.1:1", &client).why, HasSubstr("nobody listens there"));
  EXPECT_FALSE(ExplainConnectFailure("127.0.0.1:1", &client).permanent);
  EXPECT_THAT(ExplainConnectFailure("no-such-host.invalid:7443", &client).why,
              HasSubstr("there is no host named"));
}

}  // namespace
}  // namespace muster

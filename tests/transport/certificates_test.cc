#include "core/transport/certificates.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <set>

#include "core/transport/token.h"
#include "tests/transport/certificate_folder.h"

namespace muster {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

AuthorityOptions In(const CertificateFolder& folder) {
  AuthorityOptions options;
  options.directory = folder.path();
  return options;
}

TEST(Certificates, OnePerClientWithItsNameAndKeysForTheOwnerOnly) {
  const CertificateFolder folder("made", 3);
  std::set<std::string> serials;
  for (const std::string name : {"client-0", "client-1", "client-2"}) {
    const auto identity = ParseIdentity(*ReadFile(folder.File(name + ".pem")));
    ASSERT_TRUE(identity.ok()) << identity.status();
    EXPECT_EQ(identity->common_name, name);
    EXPECT_EQ(identity->organizational_unit, "client");
    EXPECT_EQ(identity->sha256.size(), 64u);
    serials.insert(identity->serial);
    struct stat status = {};
    ASSERT_EQ(stat(folder.File(name + ".key").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600u);
  }
  EXPECT_EQ(serials.size(), 3u);
  EXPECT_EQ(ParseIdentity(*ReadFile(folder.File("operator.pem")))->organizational_unit, kOperatorUnit);
}

TEST(Certificates, MoreClientsLaterKeepWhatIsThere) {
  const CertificateFolder folder("more", 1);
  const std::string before = *ReadFile(folder.File("client-0.pem"));
  AuthorityOptions options = In(folder);
  options.clients = 2;
  const auto written = MakeCertificates(options);
  ASSERT_TRUE(written.ok()) << written.status();
  EXPECT_THAT(*written, UnorderedElementsAre(folder.File("client-1.pem"), folder.File("client-1.key")));
  EXPECT_EQ(*ReadFile(folder.File("client-0.pem")), before);
  EXPECT_THAT(*MakeCertificates(options), IsEmpty());
  EXPECT_TRUE(LoadTls(TlsFilesIn(folder.path(), "client-1"), TlsRole::kClient).ok());
}

TEST(Certificates, ACertificateThatWentMissingIsMadeForTheKeyThatIsThere) {
  const CertificateFolder folder("half", 1);
  const std::string key = *ReadFile(folder.File("client-0.key"));
  std::filesystem::remove(folder.File("client-0.pem"));
  AuthorityOptions options = In(folder);
  options.clients = 1;
  ASSERT_TRUE(MakeCertificates(options).ok());
  EXPECT_EQ(*ReadFile(folder.File("client-0.key")), key);
  EXPECT_TRUE(LoadTls(TlsFilesIn(folder.path(), "client-0"), TlsRole::kClient).ok());
}

TEST(Certificates, AnAuthorityWithoutItsKeySaysSo) {
  const CertificateFolder folder("keyless", 0);
  std::filesystem::remove(folder.File("ca.key"));
  const absl::Status status = MakeCertificates(In(folder)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Message(status), HasSubstr("ca.key: not there"));

  const CertificateFolder other("other-authority", 0);
  std::filesystem::copy_file(other.File("ca.key"), folder.File("ca.key"));
  EXPECT_THAT(Message(MakeCertificates(In(folder)).status()), HasSubstr("is not the key of"));
}

TEST(Certificates, AServerNameThatIsMissingFromACertificateThatIsThereIsNotIgnored) {
  const CertificateFolder folder("names", 0);
  AuthorityOptions options = In(folder);
  options.server_names = {"localhost", "127.0.0.1"};
  EXPECT_TRUE(MakeCertificates(options).ok());
  options.server_names = {"fl.example.org"};
  EXPECT_THAT(Message(MakeCertificates(options).status()),
              HasSubstr("does not carry the name fl.example.org"));
  std::filesystem::remove(folder.File("coordinator.pem"));
  EXPECT_TRUE(MakeCertificates(options).ok());
}

TEST(Certificates, AServerNameCannotSmuggleInAnotherEntry) {
  const CertificateFolder folder("smuggle", 0);
  AuthorityOptions options = In(folder);
  options.server_names = {"a.example,DNS:b.example"};
  EXPECT_EQ(MakeCertificates(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Certificates, RevokingTwiceIsOneLine) {
  const CertificateFolder folder("revoke", 1);
  ASSERT_TRUE(Revoke(folder.path(), "client-0").ok());
  const std::string list = *ReadFile(folder.File("revoked.txt"));
  EXPECT_TRUE(
      list.starts_with(ParseIdentity(*ReadFile(folder.File("client-0.pem")))->serial + " # client-0"));
  ASSERT_TRUE(Revoke(folder.path(), "client-0").ok());
  EXPECT_EQ(*ReadFile(folder.File("revoked.txt")), list);
  EXPECT_EQ(Revoke(folder.path(), "client-7").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Revoke(folder.path(), "../ca").code(), absl::StatusCode::kInvalidArgument);
}

TEST(Token, IsValidForItsNameUntilItExpires) {
  const absl::Time expiry = absl::FromUnixSeconds(1'900'000'000);
  const std::string token = SignToken("key", "hospital.7", expiry);
  const auto identity = VerifyToken("key", token, expiry - absl::Seconds(1));
  ASSERT_TRUE(identity.ok()) << identity.status();
  EXPECT_EQ(identity->common_name, "hospital.7");
  EXPECT_EQ(identity->serial, TokenSerial(token));
  EXPECT_EQ(identity->organizational_unit, "");
  EXPECT_EQ(identity->not_after, expiry);
  EXPECT_THAT(Message(VerifyToken("key", token, expiry + absl::Seconds(1)).status()), HasSubstr("expired"));
}

TEST(Token, NothingInItCanBeChanged) {
  const absl::Time expiry = absl::FromUnixSeconds(1'900'000'000);
  const std::string token = SignToken("key", "a", expiry);
  EXPECT_FALSE(VerifyToken("other key", token, expiry).ok());
  for (size_t i = 0; i < token.size(); ++i) {
    std::string forged = token;
    forged[i] = forged[i] == '1' ? '2' : '1';
    EXPECT_EQ(VerifyToken("key", forged, expiry).status().code(), absl::StatusCode::kUnauthenticated)
        << forged;
    EXPECT_FALSE(VerifyToken("key", token.substr(0, i), expiry).ok());
  }
}

TEST(Token, AFolderMakesItsKeyOnce) {
  const CertificateFolder folder("token", 0);
  const auto token = MakeToken(folder.path(), "phone", 1);
  ASSERT_TRUE(token.ok()) << token.status();
  const auto key = ReadTokenKey(folder.File("token.key"));
  ASSERT_TRUE(key.ok()) << key.status();
  EXPECT_EQ(VerifyToken(*key, *token, absl::Now())->common_name, "phone");
  EXPECT_FALSE(MakeToken(folder.path(), "phone", 1).ok());
  ASSERT_TRUE(MakeToken(folder.path(), "tablet", 1).ok());
  EXPECT_EQ(*ReadTokenKey(folder.File("token.key")), *key);
}

}  // namespace
}  // namespace muster

#include "core/transport/access_control.h"

#include <gmock/gmock.h>

#include "tests/transport/certificate_folder.h"

namespace muster {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class AccessControlTest : public testing::Test {
 protected:
  Identity Of(const std::string& name) const {
    return *ParseIdentity(*ReadFile(folder_.File(name + ".pem")));
  }
  std::shared_ptr<AccessControl> Open(const AccessControl::Files& files) {
    auto access = AccessControl::Open(files, *ReadFile(folder_.File("ca.pem")),
                                      [this](std::string_view line) { lines_.emplace_back(line); });
    EXPECT_TRUE(access.ok()) << access.status();
    return *access;
  }
  void Write(const std::string& name, const std::string& text) const {
    ASSERT_TRUE(WriteFileAtomic(folder_.File(name), text).ok());
  }
  // A CRL that names client-0, signed by `signer`'s authority.
  std::string CrlBy(const CertificateFolder& signer) const {
    const openssl::Key key = openssl::PrivateKey(*ReadFile(signer.File("ca.key")));
    const std::vector<openssl::Cert> authority = openssl::Certificates(*ReadFile(signer.File("ca.pem")));
    const std::vector<openssl::Cert> client = openssl::Certificates(*ReadFile(folder_.File("client-0.pem")));
    const openssl::Crl crl(X509_CRL_new());
    X509_CRL_set_issuer_name(crl.get(), X509_get_subject_name(authority.front().get()));
    ASN1_TIME* now = ASN1_TIME_set(nullptr, 1'700'000'000);
    X509_CRL_set1_lastUpdate(crl.get(), now);
    X509_REVOKED* revoked = X509_REVOKED_new();
    X509_REVOKED_set_serialNumber(revoked, X509_get_serialNumber(client.front().get()));
    X509_REVOKED_set_revocationDate(revoked, now);
    X509_CRL_add0_revoked(crl.get(), revoked);
    ASN1_TIME_free(now);
    X509_CRL_sign(crl.get(), key.get(), EVP_sha256());
    const openssl::Bio bio(BIO_new(BIO_s_mem()));
    PEM_write_bio_X509_CRL(bio.get(), crl.get());
    return openssl::Contents(bio.get());
  }

  const CertificateFolder folder_{"access", 2};
  std::vector<std::string> lines_;
};

TEST_F(AccessControlTest, WithoutListsEveryValidIdentityMayEnter) {
  const auto access = Open({});
  EXPECT_TRUE(access->Authorize(Of("client-0")).ok());
  EXPECT_FALSE(access->accepts_tokens());
}

TEST_F(AccessControlTest, ACertificateFolderBringsItsLists) {
  AccessControl::Files files = AccessControl::FilesIn(folder_.path());
  EXPECT_EQ(files.allow, "");
  EXPECT_EQ(files.revoked, folder_.File("revoked.txt"));
  EXPECT_EQ(files.token_key, "");
  Write("allow.txt", "client-0\n");
  ASSERT_TRUE(MakeToken(folder_.path(), "phone", 1).ok());
  files = AccessControl::FilesIn(folder_.path());
  EXPECT_EQ(files.allow, folder_.File("allow.txt"));
  EXPECT_EQ(files.token_key, folder_.File("token.key"));
}

TEST_F(AccessControlTest, OnlyTheAllowedAndOperatorsMayEnter) {
  Write("allow.txt", "# the first clinic\nclient-0   # its server\n\n");
  const auto access = Open({.allow = folder_.File("allow.txt"), .revoked = "", .token_key = ""});
  EXPECT_TRUE(access->Authorize(Of("client-0")).ok());
  EXPECT_TRUE(access->Authorize(Of("operator")).ok());
  const absl::Status refused = access->Authorize(Of("client-1"));
  EXPECT_EQ(refused.code(), absl::StatusCode::kPermissionDenied);
  EXPECT_THAT(Message(refused), HasSubstr("is not on the allow list"));
}

TEST_F(AccessControlTest, ListsAreReadAgainWhenTheyChange) {
  const auto access = Open({.allow = "", .revoked = folder_.File("revoked.txt"), .token_key = ""});
  const int64_t version = access->Version();
  EXPECT_TRUE(access->Authorize(Of("client-1")).ok());
  EXPECT_EQ(access->Version(), version);
  ASSERT_TRUE(Revoke(folder_.path(), "client-1").ok());
  EXPECT_GT(access->Version(), version);
  EXPECT_THAT(Message(access->Authorize(Of("client-1"))), HasSubstr("is revoked"));
  EXPECT_TRUE(access->Authorize(Of("client-0")).ok());
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("revocation list read again")));
}

TEST_F(AccessControlTest, AListThatTurnsBadLeavesTheLastGoodOneInForce) {
  ASSERT_TRUE(Revoke(folder_.path(), "client-1").ok());
  const auto access = Open({.allow = "", .revoked = folder_.File("revoked.txt"), .token_key = ""});
  Write("revoked.txt", "not hexadecimal\n");
  EXPECT_FALSE(access->Authorize(Of("client-1")).ok());
  std::filesystem::remove(folder_.File("revoked.txt"));
  EXPECT_FALSE(access->Authorize(Of("client-1")).ok());
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("revoked.txt:1: not a serial"), HasSubstr("No such file")));
}

TEST_F(AccessControlTest, AMalformedListIsRefusedAtStart) {
  Write("revoked.txt", "12ab # fine\nzz\n");
  const AccessControl::Files files{.allow = "", .revoked = folder_.File("revoked.txt"), .token_key = ""};
  EXPECT_THAT(Message(AccessControl::Open(files, "", nullptr).status()), HasSubstr("revoked.txt:2"));
  EXPECT_EQ(
      AccessControl::Open({.allow = folder_.File("no-such"), .revoked = "", .token_key = ""}, "", nullptr)
          .status()
          .code(),
      absl::StatusCode::kNotFound);
}

TEST_F(AccessControlTest, ACrlCountsIfTheAuthoritySignedIt) {
  const AccessControl::Files files{.allow = "", .revoked = folder_.File("ca.crl"), .token_key = ""};
  Write("ca.crl", CrlBy(folder_));
  const auto access = Open(files);
  EXPECT_THAT(Message(access->Authorize(Of("client-0"))), HasSubstr("is revoked"));
  EXPECT_TRUE(access->Authorize(Of("client-1")).ok());

  const CertificateFolder stranger("stranger", 0);
  Write("ca.crl", CrlBy(stranger));
  EXPECT_FALSE(access->Authorize(Of("client-0")).ok());
  EXPECT_THAT(lines_, ElementsAre(HasSubstr("not signed by the authority")));
}

TEST_F(AccessControlTest, AnIdentityIsRefusedOnceItHasExpired) {
  const auto access = Open({});
  folder_.Reissue("client-0", -7200, -3600);
  EXPECT_THAT(Message(access->Authorize(Of("client-0"))), HasSubstr("expired on"));
  folder_.Reissue("client-0", 3600, 7200);
  EXPECT_THAT(Message(access->Authorize(Of("client-0"))), HasSubstr("not valid before"));
}

}  // namespace
}  // namespace muster

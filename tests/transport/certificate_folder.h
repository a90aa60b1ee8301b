// A folder of certificates for one test, and certificates that are wrong in a chosen way.
#ifndef MUSTER_TESTS_TRANSPORT_CERTIFICATE_FOLDER_H_
#define MUSTER_TESTS_TRANSPORT_CERTIFICATE_FOLDER_H_

#include <gtest/gtest.h>
#include <openssl/x509.h>

#include <cstdio>
#include <filesystem>
#include <string>

#include "core/file.h"
#include "core/transport/certificates.h"
#include "core/transport/credentials.h"
#include "core/transport/openssl.h"

namespace muster {

class CertificateFolder {
 public:
  explicit CertificateFolder(const std::string& name, int clients = 2)
      : path_(testing::TempDir() + "/" + name + "-" + std::to_string(getpid())) {
    std::filesystem::remove_all(path_);
    AuthorityOptions options;
    options.directory = path_;
    options.clients = clients;
    const auto made = MakeCertificates(options);
    EXPECT_TRUE(made.ok()) << made.status();
  }
  ~CertificateFolder() { std::filesystem::remove_all(path_); }

  const std::string& path() const { return path_; }
  std::string File(const std::string& name) const { return path_ + "/" + name; }

  // Moves the validity of NAME.pem to [from, to] seconds from now, signed anew by the folder's authority.
  // With `subject_alternative` it carries these names instead.
  void Reissue(const std::string& name, long from, long to,
               const std::string& subject_alternative = "") const {
    const openssl::Key signer = openssl::PrivateKey(*ReadFile(File("ca.key")));
    openssl::Cert certificate = std::move(openssl::Certificates(*ReadFile(File(name + ".pem"))).front());
    X509_gmtime_adj(X509_getm_notBefore(certificate.get()), from);
    X509_gmtime_adj(X509_getm_notAfter(certificate.get()), to);
    if (!subject_alternative.empty()) {
      const int at = X509_get_ext_by_NID(certificate.get(), NID_subject_alt_name, -1);
      openssl::Extension(X509_delete_ext(certificate.get(), at));
      const openssl::Extension names(
          X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, subject_alternative.c_str()));
      X509_add_ext(certificate.get(), names.get(), -1);
    }
    X509_sign(certificate.get(), signer.get(), EVP_sha256());
    const openssl::Bio bio(BIO_new(BIO_s_mem()));
    PEM_write_bio_X509(bio.get(), certificate.get());
    EXPECT_TRUE(WriteFileAtomic(File(name + ".pem"), openssl::Contents(bio.get())).ok());
  }

 private:
  const std::string path_;
};

}  // namespace muster

#endif  // MUSTER_TESTS_TRANSPORT_CERTIFICATE_FOLDER_H_

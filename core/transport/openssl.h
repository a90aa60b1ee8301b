// OpenSSL's objects with owners, and its errors in words. For the files of this folder.
#ifndef MUSTER_CORE_TRANSPORT_OPENSSL_H_
#define MUSTER_CORE_TRANSPORT_OPENSSL_H_

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace muster::openssl {

template <auto Free>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    Free(object);
  }
};
template <typename T, auto Free>
using Owner = std::unique_ptr<T, Freer<Free>>;

using Bio = Owner<BIO, BIO_free_all>;
using Key = Owner<EVP_PKEY, EVP_PKEY_free>;
using Cert = Owner<X509, X509_free>;
using Crl = Owner<X509_CRL, X509_CRL_free>;
using Store = Owner<X509_STORE, X509_STORE_free>;
using StoreContext = Owner<X509_STORE_CTX, X509_STORE_CTX_free>;
using Context = Owner<SSL_CTX, SSL_CTX_free>;
using Connection = Owner<SSL, SSL_free>;
using Extension = Owner<X509_EXTENSION, X509_EXTENSION_free>;
using Integer = Owner<ASN1_INTEGER, ASN1_INTEGER_free>;
using Octets = Owner<ASN1_OCTET_STRING, ASN1_OCTET_STRING_free>;
using Number = Owner<BIGNUM, BN_free>;

// A read-only view: `bytes` must outlive it.
Bio View(std::string_view bytes);
// Everything written to a memory BIO.
std::string Contents(BIO* bio);
// All certificates of a PEM text, in order; empty if there is none.
std::vector<Cert> Certificates(std::string_view pem);
// Null if `pem` holds no private key (or one behind a pass phrase).
Key PrivateKey(std::string_view pem);
// The first value of one part of a name, NID_commonName for instance; empty if absent.
std::string NamePart(const X509_NAME* name, int nid);
absl::Time ToTime(const ASN1_TIME* time);
// Lower-case hexadecimal digits, two per byte.
std::string SerialHex(const ASN1_INTEGER* serial);
// Whether `name` is an IPv4 or IPv6 address.
bool IsAddress(const std::string& name);
// The newest error's reason ("wrong version number"); empties the thread's queue.
std::string TakeError();

}  // namespace muster::openssl

#endif  // MUSTER_CORE_TRANSPORT_OPENSSL_H_

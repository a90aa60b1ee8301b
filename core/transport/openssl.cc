#include "core/transport/openssl.h"

#include <ctime>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"

namespace muster::openssl {

Bio View(std::string_view bytes) {
  return Bio(BIO_new_mem_buf(bytes.data(), static_cast<int>(bytes.size())));
}

std::string Contents(BIO* bio) {
  char* data = nullptr;
  const auto size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(size));
}

std::vector<Cert> Certificates(std::string_view pem) {
  std::vector<Cert> certificates;
  const Bio bio = View(pem);
  while (X509* next = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr))
    certificates.emplace_back(next);
  ERR_clear_error();  // the end of the text is reported as an error
  return certificates;
}

Key PrivateKey(std::string_view pem) {
  const Bio bio = View(pem);
  const auto no_pass_phrase = [](char*, int, int, void*) { return 0; };
  Key key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_pass_phrase, nullptr));
  ERR_clear_error();
  return key;
}

std::string NamePart(const X509_NAME* name, int nid) {
  const int index = X509_NAME_get_index_by_NID(name, nid, -1);
  if (index < 0) return "";
  unsigned char* text = nullptr;
  const int size = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, index)));
  if (size < 0) return "";
  std::string part(reinterpret_cast<char*>(text), static_cast<size_t>(size));
  OPENSSL_free(text);
  return part;
}

absl::Time ToTime(const ASN1_TIME* time) {
  std::tm parts = {};
  if (ASN1_TIME_to_tm(time, &parts) != 1) return absl::InfinitePast();
  return absl::FromTM(parts, absl::UTCTimeZone());
}

std::string SerialHex(const ASN1_INTEGER* serial) {
  const Number number(ASN1_INTEGER_to_BN(serial, nullptr));
  char* text = BN_bn2hex(number.get());
  std::string hex(text);
  OPENSSL_free(text);
  absl::AsciiStrToLower(&hex);
  return hex;
}

bool IsAddress(const std::string& name) {
  const Octets bytes(a2i_IPADDRESS(name.c_str()));
  ERR_clear_error();
  return bytes != nullptr;
}

std::string TakeError() {
  const unsigned long error = ERR_peek_last_error();
  ERR_clear_error();
  if (error == 0) return "";
  if (const char* reason = ERR_reason_error_string(error)) return reason;
  return absl::StrCat("error ", error);
}

}  // namespace muster::openssl

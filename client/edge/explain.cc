#include "client/edge/explain.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace muster::edge {
namespace {

struct Meaning {
  const char* what;
  const char* mend;
};

Meaning MeaningOf(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::UNAUTHENTICATED:
      return {"does not know who this client is", "give a certificate or a token that its authority made"};
    case grpc::StatusCode::PERMISSION_DENIED:
      return {"does not let this client in", "have its name allowed there, or use another certificate"};
    case grpc::StatusCode::FAILED_PRECONDITION:
      return {"runs a federation that this client does not fit",
              "give the client the coordinator's configuration and version"};
    case grpc::StatusCode::INVALID_ARGUMENT:
      return {"refuses what this client says",
              "mend what the message names, or use the coordinator's version"};
    case grpc::StatusCode::UNIMPLEMENTED:
      return {"is a gRPC server but no Muster coordinator", "check the address and the versions"};
    case grpc::StatusCode::ALREADY_EXISTS:
      return {"has another session of this client",
              "stop the other one, or give this one an identity of its own"};
    case grpc::StatusCode::RESOURCE_EXHAUSTED:
      return {"has no room for this client", "wait, or ask for a higher limit there"};
    case grpc::StatusCode::UNAVAILABLE:
      return {"cannot be reached", "check that the coordinator runs there and the network lets through"};
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return {"did not answer in time", "check the network"};
    default:
      return {"ended the session", "nothing to do if it comes back"};
  }
}

}  // namespace

bool IsPermanent(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::StatusCode::UNAUTHENTICATED:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::UNIMPLEMENTED:
      return true;
    default:
      return false;
  }
}

std::string CodeName(grpc::StatusCode code) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));  // the same numbers
}

absl::Status Explain(const grpc::Status& status, const std::string& address) {
  const Meaning meaning = MeaningOf(status.error_code());
  std::string message =
      absl::StrCat("coordinator ", address, ": ", meaning.what, " (", CodeName(status.error_code()));
  if (!status.error_message().empty()) absl::StrAppend(&message, ": ", status.error_message());
  absl::StrAppend(&message, "); ", meaning.mend);
  std::replace_if(
      message.begin(), message.end(), [](char c) { return static_cast<unsigned char>(c) < ' '; }, ' ');
  return IsPermanent(status) ? InvalidInput(message) : absl::UnavailableError(message);
}

absl::Status CheckAddress(const std::string& address) {
  const size_t colon = address.rfind(':');
  int port = 0;
  const bool good = colon != std::string::npos && colon > 0 &&
                    absl::SimpleAtoi(address.substr(colon + 1), &port) && port > 0 && port < 65536 &&
                    (address.find(':') == colon || (address.front() == '[' && address[colon - 1] == ']'));
  if (good) return absl::OkStatus();
  return InvalidInput(
      absl::StrCat("coordinator '", address, "': is not HOST:PORT; give e.g. localhost:7443 or [::1]:7443"));
}

}  // namespace muster::edge

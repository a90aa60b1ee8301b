#include "core/transport/handshake_log.h"

#include <grpc/support/log.h>

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "core/mutex.h"

namespace muster {
namespace {

struct Sink {
  Mutex mutex;
  std::shared_ptr<const LogLine> log ABSL_GUARDED_BY(mutex);
};

// Never destroyed: gRPC's threads may outlive main.
Sink& GlobalSink() {
  static Sink* const sink = new Sink;
  return *sink;
}

void OnGrpcLog(gpr_log_func_args* args) {
  if (args->severity != GPR_LOG_SEVERITY_ERROR) return;
  std::shared_ptr<const LogLine> log;
  {
    MutexLock lock(&GlobalSink().mutex);
    log = GlobalSink().log;
  }
  if (log == nullptr || !*log) return;
  std::string_view message(args->message);
  if (message.find("Handshake failed") == std::string_view::npos) {
    (*log)(absl::StrCat("gRPC: ", args->message));
    return;
  }
  // "Handshake failed with fatal error SSL_ERROR_SSL: error:0A000418:SSL routines::tlsv1 alert unknown ca."
  const size_t colon = message.rfind(':');
  std::string_view reason = colon == std::string_view::npos ? message : message.substr(colon + 1);
  while (!reason.empty() && reason.back() == '.') reason.remove_suffix(1);
  (*log)(ExplainServerHandshake(reason));
}

}  // namespace

std::string ExplainServerHandshake(std::string_view reason) {
  struct Explanation {
    std::string_view reason;
    std::string_view words;
  };
  static constexpr Explanation kExplanations[] = {
      {"alert unknown ca",
       "a client does not trust this coordinator's certificate: it is signed by another CA than the client's "
       "ca.pem "
       "(wrong CA)"},
      {"alert certificate expired", "a client refuses this coordinator's certificate: it has expired"},
      {"alert bad certificate",
       "a client refuses this coordinator's certificate: wrong name (it does not carry the name the client "
       "dialled) or "
       "not yet valid"},
      {"alert certificate unknown",
       "a client refuses this coordinator's certificate: it was made for another purpose"},
      {"alert certificate revoked", "a client refuses this coordinator's certificate: it is revoked"},
      {"http request", "a client speaks plain HTTP to this TLS port"},
      {"wrong version number",
       "a client speaks plain text to this TLS port (a client started with --insecure?)"},
      {"bad record type", "a client speaks plain text to this TLS port (a client started with --insecure?)"},
      {"unsupported protocol", "a client speaks only TLS versions that are too old (1.2 is the least)"},
      {"alert protocol version", "a client speaks only TLS versions that are too old (1.2 is the least)"},
      {"no shared cipher", "a client and this coordinator share no TLS cipher"},
      {"certificate verify failed", "a client's certificate cannot be verified"},
      {"peer did not return a certificate", "a client has no certificate, and one is required"},
  };
  for (const Explanation& known : kExplanations) {
    if (reason.find(known.reason) != std::string_view::npos) {
      return absl::StrCat("TLS handshake failed: ",
                          absl::string_view(known.words.data(), known.words.size()));
    }
  }
  return absl::StrCat("TLS handshake failed: ", absl::string_view(reason.data(), reason.size()));
}

void SendGrpcErrorsTo(LogLine log) {
  {
    MutexLock lock(&GlobalSink().mutex);
    GlobalSink().log = std::make_shared<const LogLine>(std::move(log));
  }
  gpr_set_log_function(OnGrpcLog);
}

}  // namespace muster

// A small HTTP server for people and Prometheus: a few pages that are made when they are asked for, and
// streams of server-sent events.
#ifndef MUSTER_SERVER_MONITORING_HTTP_SERVER_H_
#define MUSTER_SERVER_MONITORING_HTTP_SERVER_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "core/status.h"

namespace muster {

struct HttpRequest {
  std::string body;           // at most 64 KiB
  std::string authorization;  // the header
};
struct HttpAnswer {
  int status = 200;
  std::string body = {};
};

class HttpServer {
 public:
  HttpServer();
  ~HttpServer();  // stops; streams get their last message

  // All before Start(). What is given is called from the server's threads.

  // GET `path` answers with what `answer` returns; text if that is an error.
  void Get(const std::string& path, const std::string& content_type, std::function<HttpAnswer()> answer,
           std::map<std::string, std::string> headers = {});
  // POST `path` answers with what `answer` makes of the request.
  void Post(const std::string& path, std::function<HttpAnswer(const HttpRequest&)> answer);

  // The next message for one reader, when there is one: "" after some seconds without (the connection is kept
  // alive); nullopt: the stream is over.
  using NextMessage = std::function<std::optional<std::string>()>;
  // GET `path` answers with server-sent events, to so many readers at once; further ones are told 503. A
  // reader is served by a thread of its own, which `open` gives its messages; one that takes none for seconds
  // is cut off. `close` makes all of them end, when the server stops.
  void Stream(const std::string& path, int most_readers, std::function<NextMessage()> open,
              std::function<void()> close);

  // Listens on "host:port" (port 0: any free one) and serves from threads of its own. INVALID_ARGUMENT if the
  // address is malformed or taken.
  absl::Status Start(const std::string& address);
  int port() const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

// A message as a server-sent event: "data: ..." lines and an empty one.
std::string ServerSentEvent(const std::string& message);

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_HTTP_SERVER_H_

// A small HTTP server for people and Prometheus: a few pages that are made when they are asked for.
#ifndef MUSTER_SERVER_MONITORING_HTTP_SERVER_H_
#define MUSTER_SERVER_MONITORING_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "core/status.h"

namespace muster {

class HttpServer {
 public:
  HttpServer();
  ~HttpServer();  // stops

  // GET `path` answers 200 with what `body` returns. `body` is called from the server's threads. Before
  // Start().
  void Get(const std::string& path, const std::string& content_type, std::function<std::string()> body);
  // Listens on "host:port" (port 0: any free one) and serves from threads of its own. INVALID_ARGUMENT if the
  // address is malformed or taken.
  absl::Status Start(const std::string& address);
  int port() const;

 private:
  struct Impl;
  const std::unique_ptr<Impl> impl_;
};

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_HTTP_SERVER_H_

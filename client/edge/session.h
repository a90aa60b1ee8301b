// One Session stream with the coordinator, from its opening to its end.
#ifndef MUSTER_CLIENT_EDGE_SESSION_H_
#define MUSTER_CLIENT_EDGE_SESSION_H_

#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>

#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <thread>

#include "muster/v1/federation.grpc.pb.h"

namespace muster::edge {

class Session {
 public:
  using OnMessage = std::function<void(v1::ServerMessage)>;
  using OnEnd = std::function<void(const grpc::Status&)>;

  // Opens the stream in a thread of its own and says `join`. The callbacks are called from that thread, one
  // at a time; `on_end` once and last, with the stream's status (UNAVAILABLE where there is no connection).
  Session(std::shared_ptr<grpc::Channel> channel, const v1::ClientMessage& join, OnMessage on_message,
          OnEnd on_end);
  // Cancels what still goes on, and joins.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // One thread at a time, after the first message came. A message that cannot be sent any more is lost: the
  // stream's end follows.
  void Send(const v1::ClientMessage& message);
  // Nothing more will be sent; gives the coordinator so long to end the stream.
  void Close(std::chrono::milliseconds patience);
  // Ends the stream at once. Any thread.
  void Cancel();

 private:
  void Read(const v1::ClientMessage& join);

  const std::unique_ptr<v1::Federation::Stub> stub_;
  const OnMessage on_message_;
  const OnEnd on_end_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::ClientMessage, v1::ServerMessage>> stream_;
  std::promise<void> ended_;
  std::thread reader_;
};

}  // namespace muster::edge

#endif  // MUSTER_CLIENT_EDGE_SESSION_H_

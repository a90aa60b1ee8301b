// The client's session with the coordinator, kept up: joins, beats, notices silence, comes back with growing
// delays, and knows when it makes no sense to come back.
#ifndef MUSTER_CLIENT_EDGE_CONNECTION_H_
#define MUSTER_CLIENT_EDGE_CONNECTION_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>

#include "client/edge/backoff.h"
#include "client/edge/edge_client.h"
#include "client/edge/link_watch.h"
#include "client/edge/session.h"
#include "core/status.h"
#include "muster/v1/federation.pb.h"

namespace muster::edge {

// What a session's thread hands to the thread that owns the connection: a message, or the stream's end.
struct StreamEvent {
  int64_t session = 0;
  std::variant<v1::ServerMessage, grpc::Status> what;
};

// Belongs to one thread; `post` alone is called by others.
class Connection {
 public:
  using Clock = std::chrono::steady_clock;

  // `options` outlives the connection. `join` makes the first message of every session but for what the
  // options say.
  Connection(const EdgeOptions& options, std::function<v1::Join()> join,
             std::function<void(StreamEvent)> post);

  // When Tick has something to do next.
  Clock::time_point next_timer() const;
  // Connects, beats and gives up silent sessions when it is time.
  void Tick();
  // Takes up what was posted. Gives back what is for the task at hand: Welcome, Offer, Permit, Cancel,
  // Settled.
  std::optional<v1::ServerMessage> Hear(StreamEvent event);

  // Between Welcome and the stream's end. What is sent otherwise is lost.
  bool joined() const { return joined_; }
  void Send(const v1::ClientMessage& message);
  // Says Leave and waits a moment for the coordinator to end the stream. Nothing else may follow.
  void Leave();

  double heartbeat_seconds() const { return heartbeat_seconds_; }
  // For transfers: another connection than the session's, so that an update that fills a narrow link does not
  // stand before the heartbeats. Of the newest session.
  const std::shared_ptr<grpc::Channel>& transfers() const { return transfers_; }
  // Set once it is over for good: OK when the federation is finished.
  const std::optional<absl::Status>& outcome() const { return outcome_; }

 private:
  void Connect();
  void Welcomed(const v1::Welcome& welcome);
  void Ended(const grpc::Status& status);
  // One line, and whether it is of no use to try again.
  ConnectFailure WhyLost(const grpc::Status& status, bool was_joined);
  void Tell(const EdgeEvent& event) const;
  void Warn(const std::optional<std::string>& text) const;

  const EdgeOptions& options_;
  const std::function<v1::Join()> join_;
  const std::function<void(StreamEvent)> post_;
  std::shared_ptr<grpc::Channel> transfers_;
  std::unique_ptr<Session> session_;
  int64_t session_id_ = 0;
  bool joined_ = false;
  bool silent_ = false;  // the session was given up because nothing was heard
  std::optional<v1::Goodbye> goodbye_;
  std::optional<absl::Status> outcome_;
  double heartbeat_seconds_ = 5;
  int64_t asked_ms_ = 0;  // when Join was made
  Clock::time_point connect_at_, heartbeat_at_, silent_at_;
  Clock::time_point last_joined_;
  Backoff backoff_;
  LinkWatch link_;
  std::string told_;  // the newest Disconnected's reason, until Welcome
  // Why there is no connection, as found out since the last Welcome, and gRPC's words for it.
  std::optional<ConnectFailure> unreachable_;
  std::string unreachable_words_;
};

}  // namespace muster::edge

#endif  // MUSTER_CLIENT_EDGE_CONNECTION_H_

// A live session as the pool sees it: something messages can be sent to.
#ifndef MUSTER_SERVER_SERVICE_CLIENT_LINK_H_
#define MUSTER_SERVER_SERVICE_CLIENT_LINK_H_

#include <string>

#include "core/status.h"
#include "core/transport/certificates.h"
#include "muster/v1/federation.pb.h"
#include "server/rounds/client_pool.h"

namespace muster {

// Who is at the other end of a call, by what the transport knows.
struct Peer {
  // By its certificate or token. Its common name is empty over plain text, where a client is who it says it
  // is.
  Identity identity;
  std::string address;  // for people
};

// Thread-safe. Nothing here blocks, and nothing calls back before it returns.
class ClientLink {
 public:
  explicit ClientLink(Peer peer) : peer_(std::move(peer)) {}
  virtual ~ClientLink() = default;
  ClientLink(const ClientLink&) = delete;
  ClientLink& operator=(const ClientLink&) = delete;

  const Peer& peer() const { return peer_; }

  // Queued behind what was sent before. Nothing happens after Close.
  virtual void Send(v1::ServerMessage message) = 0;
  // Ends the session with `status` once everything queued is out. With `at_once` (the peer is dead or does
  // not read) nothing is waited for.
  virtual void Close(const absl::Status& status, bool at_once = false) = 0;

 private:
  const Peer peer_;
};

}  // namespace muster

#endif  // MUSTER_SERVER_SERVICE_CLIENT_LINK_H_

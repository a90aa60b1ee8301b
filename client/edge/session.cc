#include "client/edge/session.h"

#include <utility>

namespace muster::edge {

Session::Session(std::shared_ptr<grpc::Channel> channel, const v1::ClientMessage& join, OnMessage on_message,
                 OnEnd on_end)
    : stub_(v1::Federation::NewStub(std::move(channel))),
      on_message_(std::move(on_message)),
      on_end_(std::move(on_end)),
      reader_([this, join] { Read(join); }) {}

Session::~Session() {
  Cancel();
  reader_.join();
}

void Session::Send(const v1::ClientMessage& message) { stream_->Write(message); }
void Session::Close(std::chrono::milliseconds patience) {
  stream_->WritesDone();
  ended_.get_future().wait_for(patience);
}
void Session::Cancel() { context_.TryCancel(); }

void Session::Read(const v1::ClientMessage& join) {
  stream_ = stub_->Session(&context_);  // waits for the connection
  stream_->Write(join);
  v1::ServerMessage message;
  while (stream_->Read(&message)) on_message_(std::move(message));
  on_end_(stream_->Finish());
  ended_.set_value();
}

}  // namespace muster::edge

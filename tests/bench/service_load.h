// The clients of the service benchmark, and the stream they are measured against.
#ifndef MUSTER_TESTS_BENCH_SERVICE_LOAD_H_
#define MUSTER_TESTS_BENCH_SERVICE_LOAD_H_

#include <cstdint>
#include <string>

#include "muster/v1/federation.grpc.pb.h"

namespace muster::bench {

// Holds `clients` sessions over `channels` connections until it is killed: every client accepts what it is
// offered, downloads the model and hands the same bytes in as its update; up to `max_inline_bytes` within the
// session. Connection K has certificate client-K of the folder `certs`; plain text if that is empty.
int Load(const std::string& address, const std::string& certs, int clients, int channels,
         int64_t max_inline_bytes);

// Sends as many bytes as the request's offset says, and takes whatever comes: raw chunks, no checks, no
// files.
class BareService final : public v1::Federation::WithRawCallbackMethod_Download<
                              v1::Federation::WithRawCallbackMethod_Upload<v1::Federation::Service>> {
 public:
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Download(grpc::CallbackServerContext* context,
                                                       const grpc::ByteBuffer* request) override;
  grpc::ServerReadReactor<grpc::ByteBuffer>* Upload(grpc::CallbackServerContext* context,
                                                    grpc::ByteBuffer* response) override;
};

// Moves so many bytes from a BareService and back, as a client of Load does.
void MoveBare(const std::string& address, const std::string& certs, int client, int64_t bytes);

}  // namespace muster::bench

#endif  // MUSTER_TESTS_BENCH_SERVICE_LOAD_H_

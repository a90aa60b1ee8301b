// "host:port", taken apart.
#ifndef MUSTER_CORE_TRANSPORT_ENDPOINT_H_
#define MUSTER_CORE_TRANSPORT_ENDPOINT_H_

#include <string>
#include <string_view>

namespace muster {

struct Endpoint {
  std::string host;  // without the brackets of an IPv6 address
  std::string port;  // "443" if there is none, as gRPC has it
};

// Understands gRPC's "dns:///host:port", "ipv4:a.b.c.d:port" and "ipv6:[::1]:port", too.
Endpoint ParseEndpoint(std::string_view address);

}  // namespace muster

#endif  // MUSTER_CORE_TRANSPORT_ENDPOINT_H_

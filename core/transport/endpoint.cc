#include "core/transport/endpoint.h"

namespace muster {

Endpoint ParseEndpoint(std::string_view address) {
  for (const std::string_view scheme : {"dns:", "ipv4:", "ipv6:"}) {
    if (address.starts_with(scheme)) address.remove_prefix(scheme.size());
  }
  address.remove_prefix(address.find_last_of('/') + 1);
  const size_t colon = address.rfind(':');
  std::string_view host = address.substr(0, colon);
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  return {std::string(host),
          colon == std::string_view::npos ? "443" : std::string(address.substr(colon + 1))};
}

}  // namespace muster

// The parts of the pages, embedded when the library is built (pages/, and Chart.js of the system).
#ifndef MUSTER_SERVER_MONITORING_PAGE_ASSETS_H_
#define MUSTER_SERVER_MONITORING_PAGE_ASSETS_H_

#include <string_view>

namespace muster {

extern const std::string_view kReportHtml;  // with {{NAME}} where the other parts go
extern const std::string_view kReportJs;
extern const std::string_view kLiveHtml;
extern const std::string_view kLiveJs;
extern const std::string_view kPagesCss;  // of both
extern const std::string_view kPlotsJs;   // likewise
extern const std::string_view kChartJs;   // chartjs.org, MIT; its licence comment comes first

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_PAGE_ASSETS_H_

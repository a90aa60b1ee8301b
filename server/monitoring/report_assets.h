// The parts of the report's page, embedded when the library is built (report/, and Chart.js of the system).
#ifndef MUSTER_SERVER_MONITORING_REPORT_ASSETS_H_
#define MUSTER_SERVER_MONITORING_REPORT_ASSETS_H_

#include <string_view>

namespace muster {

extern const std::string_view kReportHtml;  // with {{NAME}} where the other parts go
extern const std::string_view kReportCss;
extern const std::string_view kReportJs;
extern const std::string_view kChartJs;  // chartjs.org, MIT; its licence comment comes first

}  // namespace muster

#endif  // MUSTER_SERVER_MONITORING_REPORT_ASSETS_H_

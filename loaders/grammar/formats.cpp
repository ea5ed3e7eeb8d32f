#include "loaders/grammar/formats.h"

#include <map>

namespace klens::grammar {
namespace {

#define KLENS_DATE                                                                                \
  "(\\d{3}[1-9]|\\d{2}[1-9]0|\\d[1-9]00|[1-9]000)-"                                               \
  "((0[13578]|1[02])-(0[1-9]|[12]\\d|3[01])|(0[469]|11)-(0[1-9]|[12]\\d|30)|02-(0[1-9]|1\\d|2[0-" \
  "8]))"
#define KLENS_TIME \
  "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)"
#define KLENS_CLOCK "T(\\d{1,4}S|\\d{1,4}M(\\d{1,4}S)?|\\d{1,4}H(\\d{1,4}M(\\d{1,4}S)?)?)"
#define KLENS_LABEL "[A-Za-z0-9](-?[A-Za-z0-9]){0,29}"
#define KLENS_HOST KLENS_LABEL "(\\." KLENS_LABEL "){0,3}"
#define KLENS_LOCAL "[A-Za-z0-9_+-]{1,20}(\\.[A-Za-z0-9_+-]{1,20}){0,2}"
#define KLENS_PIECE "(([A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*)"
#define KLENS_REST "(/" KLENS_PIECE ")*(\\?" KLENS_PIECE ")?(#" KLENS_PIECE ")?"
#define KLENS_HEX "[0-9A-Fa-f]{1,4}"
#define KLENS_BYTE "(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)"

const std::map<std::string, const char*> kStringFormats = {
    {"date", "^" KLENS_DATE "$"},
    {"time", "^" KLENS_TIME "$"},
    {"date-time", "^" KLENS_DATE "T" KLENS_TIME "$"},
    {"duration",
     "^P(\\d{1,4}W|(\\d{1,4}D|\\d{1,4}M(\\d{1,4}D)?|\\d{1,4}Y(\\d{1,4}M(\\d{1,4}D)?)?)"
     "(" KLENS_CLOCK ")?|" KLENS_CLOCK ")$"},
    {"uuid", "^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$"},
    {"email", "^" KLENS_LOCAL "@" KLENS_HOST "$"},
    {"hostname", "^" KLENS_HOST "$"},
    {"ipv4", "^(" KLENS_BYTE "\\.){3}" KLENS_BYTE "$"},
    {"ipv6",
     "^((" KLENS_HEX ":){7}" KLENS_HEX "|(" KLENS_HEX ":){1,7}:|(" KLENS_HEX ":){1,6}:" KLENS_HEX
     "|(" KLENS_HEX ":){1,5}(:" KLENS_HEX "){1,2}|(" KLENS_HEX ":){1,4}(:" KLENS_HEX
     "){1,3}|(" KLENS_HEX ":){1,3}(:" KLENS_HEX "){1,4}|(" KLENS_HEX ":){1,2}(:" KLENS_HEX
     "){1,5}|" KLENS_HEX ":(:" KLENS_HEX "){1,6}|:((:" KLENS_HEX "){1,7}|:))$"},
    {"uri", "^[A-Za-z][A-Za-z0-9+.-]{0,19}://" KLENS_HOST "(:\\d{1,4})?" KLENS_REST "$"},
    {"uri-reference",
     "^([A-Za-z][A-Za-z0-9+.-]{0,19}://" KLENS_HOST "(:\\d{1,4})?)?" KLENS_REST "$"},
    {"json-pointer", "^(/([^/~]|~[01])*)*$"},
};

}  // namespace

const char* format_pattern(const std::string& name) {
  const auto at = kStringFormats.find(name);
  return at == kStringFormats.end() ? nullptr : at->second;
}

std::string format_names() {
  std::string all;
  for (const auto& entry : kStringFormats) all += (all.empty() ? "" : ", ") + entry.first;
  return all;
}

}  // namespace klens::grammar

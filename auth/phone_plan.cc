// What PhoneNumberUtil does with "+" and digits, in its order:
//
//     the calling code -> its main region's national prefix: might the library take one off? unsure
//          -> which of its regions: by leading digits, or the first in which the number has a type
//          -> its type there: general description, the kinds that receive no codes, fixed and mobile
//
// Descriptions are regular expressions over all national digits, with a list of possible lengths.
#include "auth/phone_plan.h"

#include <cstdint>
#include <cstring>
#include <list>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <phonenumbers/phonemetadata.pb.h>
#include <phonenumbers/phonenumberutil.h>

#include "auth/phone_types.h"

namespace i18n::phonenumbers
{
// The library exports its metadata, but installs no header that says so. Without them every number is unsure.
__attribute__((weak)) int metadata_size();
__attribute__((weak)) const void *metadata_get();
} // namespace i18n::phonenumbers

using i18n::phonenumbers::PhoneMetadata;
using i18n::phonenumbers::PhoneMetadataCollection;
using i18n::phonenumbers::PhoneNumberDesc;
using i18n::phonenumbers::PhoneNumberUtil;

namespace
{

constexpr int CODE_END = 1000;   // calling codes have up to three digits
constexpr int LENGTH_END = 32;   // of national numbers, in bits of a word
constexpr int NO_CODES = -1;     // a type to which no codes go
constexpr int UNKNOWN_TYPE = -2; // not a number of the region

struct digits {
    const char *p;
    size_t n;
};

struct code_free {
    void operator()(pcre2_code *code) const
    {
        pcre2_code_free(code);
    }
};

struct match_free {
    void operator()(pcre2_match_data *data) const
    {
        pcre2_match_data_free(data);
    }
};

class expression
{
  public:
    expression(const std::string &pattern, uint32_t options)
    {
        int error;
        PCRE2_SIZE at;
        code.reset(pcre2_compile((PCRE2_SPTR)pattern.data(), pattern.size(), PCRE2_ANCHORED | options, &error,
                                 &at, nullptr));
        if (!code) {
            throw std::invalid_argument("an expression that PCRE2 does not take");
        }
    }

    bool takes(digits d) const
    {
        static thread_local std::unique_ptr<pcre2_match_data, match_free> data(
            pcre2_match_data_create(1, nullptr));
        return pcre2_match(code.get(), (PCRE2_SPTR)d.p, d.n, 0, 0, data.get(), nullptr) >= 0;
    }

  private:
    std::unique_ptr<pcre2_code, code_free> code;
};

// One kind of numbers of a region.
class description
{
  public:
    explicit description(const PhoneNumberDesc &d) : whole(d.national_number_pattern(), PCRE2_ENDANCHORED)
    {
        for (int length : d.possible_length()) { // -1: there are no such numbers
            lengths |= length > 0 && length < LENGTH_END ? 1U << length : 0;
        }
        if (d.possible_length_size() == 0) {
            lengths = ~0U;
        }
        if (d.national_number_pattern().empty()) {
            lengths = 0;
        }
    }

    bool takes(digits d) const
    {
        return d.n < LENGTH_END && lengths >> d.n & 1 && whole.takes(d);
    }

  private:
    uint32_t lengths = 0; // bit n: numbers of n digits
    expression whole;
};

struct region {
    explicit region(const PhoneMetadata &m)
        : name(m.id()), general(m.general_desc()), fixed_line(m.fixed_line()), mobile(m.mobile()),
          mobile_is_fixed(m.same_mobile_and_fixed_line_pattern())
    {
        if (m.has_leading_digits()) {
            leading = std::make_unique<expression>(m.leading_digits(), 0);
        }
        for (const PhoneNumberDesc *d : {&m.premium_rate(), &m.toll_free(), &m.shared_cost()}) {
            special.emplace_back(description(*d), NO_CODES);
        }
        for (const PhoneNumberDesc *d : {&m.voip(), &m.personal_number()}) {
            special.emplace_back(description(*d), PHONE_TYPE_VOIP);
        }
        for (const PhoneNumberDesc *d : {&m.pager(), &m.uan(), &m.voicemail()}) {
            special.emplace_back(description(*d), NO_CODES);
        }
    }

    int type_of(digits d) const
    {
        if (!general.takes(d)) {
            return UNKNOWN_TYPE;
        }
        for (const auto &[kind, type] : special) {
            if (kind.takes(d)) {
                return type;
            }
        }
        if (fixed_line.takes(d)) {
            return mobile_is_fixed || mobile.takes(d) ? PHONE_TYPE_FIXED_OR_MOBILE : NO_CODES;
        }
        return !mobile_is_fixed && mobile.takes(d) ? PHONE_TYPE_MOBILE : UNKNOWN_TYPE;
    }

    std::string name;
    std::unique_ptr<expression> leading;              // of a region that is told by it
    std::vector<std::pair<description, int>> special; // in the library's order
    description general, fixed_line, mobile;
    bool mobile_is_fixed; // one description of both
};

// A calling code.
struct plan {
    bool is_unsure = true;
    std::unique_ptr<expression> prefix; // that the library might take off
    std::vector<region> regions;        // the main one first; none: of no country
};

void read_plan(plan *p, int code, const std::map<std::string, const PhoneMetadata *> &metadata)
{
    std::list<std::string> names;
    PhoneNumberUtil::GetInstance()->GetRegionCodesForCountryCallingCode(code, &names);
    for (const std::string &name : names) {
        if (name.size() == 2) { // else a code of the whole world
            p->regions.emplace_back(*metadata.at(name));
        }
    }
    if (!p->regions.empty()) {
        const std::string &prefix = metadata.at(names.front())->national_prefix_for_parsing();
        if (!prefix.empty()) {
            p->prefix = std::make_unique<expression>(prefix, 0);
        }
    }
    p->is_unsure = false;
}

// By calling code.
std::vector<plan> read_plans()
{
    std::vector<plan> plans(CODE_END);
    PhoneMetadataCollection all;
    std::map<std::string, const PhoneMetadata *> metadata;
    if (!i18n::phonenumbers::metadata_get || !i18n::phonenumbers::metadata_size ||
        !all.ParseFromArray(i18n::phonenumbers::metadata_get(), i18n::phonenumbers::metadata_size())) {
        return plans;
    }
    for (const PhoneMetadata &m : all.metadata()) {
        metadata[m.id()] = &m;
    }
    for (int code = 1; code < CODE_END; code++) {
        plan p;
        try {
            read_plan(&p, code, metadata);
        } catch (const std::exception &) {
            p = plan();
        }
        plans[(size_t)code] = std::move(p);
    }
    return plans;
}

const std::vector<plan> &plans()
{
    static const std::vector<plan> all = read_plans();
    return all;
}

// The plan of the number's calling code, which is taken off; NULL: no country has it. E.164's codes are prefix-free.
const plan *take_code(digits *d, int *code)
{
    *code = 0;
    while (d->n > 0 && *code < CODE_END / 10) {
        *code = 10 * *code + (d->p[0] - '0');
        d->p++;
        d->n--;
        const plan &p = plans()[(size_t)*code];
        if (p.is_unsure || !p.regions.empty()) {
            return &p;
        }
    }
    return nullptr;
}

// The region of the number; NULL: none. One that is alone is not asked.
const region *region_of(const plan &p, digits d)
{
    if (p.regions.size() == 1) {
        return &p.regions.front();
    }
    for (const region &r : p.regions) {
        if (r.leading ? r.leading->takes(d) : r.type_of(d) != UNKNOWN_TYPE) {
            return &r;
        }
    }
    return nullptr;
}

} // namespace

void phone_plan_start(void)
{
    plans();
}

enum phone_plan_verdict phone_plan_check(const char *e164, struct phone_lib_answer *out)
{
    digits d = {e164 + 1, strlen(e164 + 1)};
    int code;
    const plan *p = take_code(&d, &code);
    if (!p) {
        return PHONE_PLAN_INVALID;
    }
    if (p->is_unsure || (p->prefix && p->prefix->takes(d))) {
        return PHONE_PLAN_UNSURE;
    }
    const region *r = region_of(*p, d);
    int type = r ? r->type_of(d) : UNKNOWN_TYPE;
    if (type < 0) {
        return PHONE_PLAN_INVALID;
    }
    memcpy(out->country, r->name.c_str(), 3);
    out->country_code = code;
    out->type = type;
    return PHONE_PLAN_VALID;
}

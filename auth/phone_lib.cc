// libphonenumber behind two C functions. It is lenient by design, so it only ever sees canonical numbers,
// and what it would rewrite is refused.
#include "auth/phone_lib.h"

#include <cstring>
#include <exception>
#include <string>

#include <phonenumbers/phonenumber.pb.h>
#include <phonenumbers/phonenumberutil.h>

#include "auth/phone_types.h"

using i18n::phonenumbers::PhoneNumber;
using i18n::phonenumbers::PhoneNumberUtil;

namespace
{

// False when the text is not read whole, or is written differently by the library.
bool parse(const char *e164, PhoneNumber *number)
{
    const PhoneNumberUtil &util = *PhoneNumberUtil::GetInstance();
    if (util.Parse(e164, "ZZ", number) != PhoneNumberUtil::NO_PARSING_ERROR) {
        return false;
    }
    std::string formatted;
    util.Format(*number, PhoneNumberUtil::E164, &formatted);
    return formatted == e164;
}

int type_of(const PhoneNumber &number)
{
    switch (PhoneNumberUtil::GetInstance()->GetNumberType(number)) {
    case PhoneNumberUtil::MOBILE:
        return PHONE_TYPE_MOBILE;
    case PhoneNumberUtil::FIXED_LINE_OR_MOBILE:
        return PHONE_TYPE_FIXED_OR_MOBILE;
    case PhoneNumberUtil::VOIP:
    case PhoneNumberUtil::PERSONAL_NUMBER:
        return PHONE_TYPE_VOIP;
    default:
        return -1; // fixed lines, premium rate, shared cost, pagers: no codes go there
    }
}

} // namespace

void phone_lib_start(void)
{
    struct phone_lib_answer answer;
    phone_lib_check("+8613800138000", &answer);
}

int phone_lib_check(const char *e164, struct phone_lib_answer *out)
{
    try {
        PhoneNumber number;
        if (!parse(e164, &number)) {
            return 0;
        }
        int type = type_of(number); // of an invalid number: unknown
        if (type < 0) {
            return 0;
        }
        std::string region;
        PhoneNumberUtil::GetInstance()->GetRegionCodeForNumber(number, &region);
        if (region.size() != 2) {
            return 0;
        }
        out->country_code = number.country_code();
        memcpy(out->country, region.c_str(), 3);
        out->type = type;
        return 1;
    } catch (const std::exception &) {
        return 0;
    }
}

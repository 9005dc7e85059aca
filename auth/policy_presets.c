/* The policies that an operator names instead of writing. Words are for the public: also shown by the status page. */
#include "auth/policy.h"

struct preset {
    const char *name;
    const char *document;
};

static const struct preset presets[] = {
    {"open", "{\"name\":\"open\",\"rules\":[],\"default\":{\"effect\":\"allow\"},"
             "\"existing_users\":\"unaffected\"}"},
    {"mainland-phone-only",
     "{\"name\":\"mainland-phone-only\",\"rules\":["
     "{\"id\":\"mainland\",\"when\":{\"method\":[\"phone\"],\"phone_country\":[\"CN\"]},\"effect\":\"allow\"}"
     "],"
     "\"default\":{\"effect\":\"deny\",\"reason\":\"signup_region_not_allowed\"},"
     "\"messages\":{\"signup_region_not_allowed\":{"
     "\"en\":\"Sign-up is currently limited to mobile phone numbers of mainland China. "
     "If you already have an account, you can sign in as usual.\","
     "\"zh-Hans\":\"目前仅支持中国大陆手机号注册。已注册用户可正常登录。\","
     "\"zh-Hant\":\"目前僅支援中國大陸手機號碼註冊。已註冊使用者可正常登入。\"}},"
     "\"existing_users\":\"unaffected\"}"},
    {"invite-only", "{\"name\":\"invite-only\",\"rules\":["
                    "{\"id\":\"invited\",\"when\":{\"invite\":true},\"effect\":\"allow\"}],"
                    "\"default\":{\"effect\":\"deny\",\"reason\":\"invite_required\"},"
                    "\"messages\":{\"invite_required\":{"
                    "\"en\":\"Sign-up is by invitation only at the moment. "
                    "If you already have an account, you can sign in as usual.\","
                    "\"zh-Hans\":\"目前仅限受邀用户注册。已注册用户可正常登录。\","
                    "\"zh-Hant\":\"目前僅限受邀使用者註冊。已註冊使用者可正常登入。\"}},"
                    "\"existing_users\":\"unaffected\"}"},
    {"waitlist", "{\"name\":\"waitlist\",\"rules\":["
                 "{\"id\":\"invited\",\"when\":{\"invite\":true},\"effect\":\"allow\"}],"
                 "\"default\":{\"effect\":\"waitlist\"},"
                 "\"messages\":{\"signup_waitlisted\":{"
                 "\"en\":\"Sign-up goes through a waiting list at the moment. "
                 "If you already have an account, you can sign in as usual.\","
                 "\"zh-Hans\":\"目前注册需要排队。已注册用户可正常登录。\","
                 "\"zh-Hant\":\"目前註冊需要排隊。已註冊使用者可正常登入。\"}},"
                 "\"existing_users\":\"unaffected\"}"},
    {"closed",
     "{\"name\":\"closed\",\"rules\":[],\"default\":{\"effect\":\"deny\",\"reason\":\"signup_closed\"},"
     "\"messages\":{\"signup_closed\":{"
     "\"en\":\"Sign-up is paused for the moment. If you already have an account, you can sign in as usual.\","
     "\"zh-Hans\":\"目前暂停新用户注册。已注册用户可正常登录。\","
     "\"zh-Hant\":\"目前暫停新使用者註冊。已註冊使用者可正常登入。\"}},"
     "\"existing_users\":\"unaffected\"}"},
};

const char *policy_preset(struct str name)
{
    for (size_t i = 0; i < sizeof presets / sizeof *presets; i++) {
        if (str_is(name, presets[i].name)) {
            return presets[i].document;
        }
    }
    return NULL;
}

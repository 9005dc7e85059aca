/* The numbering plans of libphonenumber's metadata, compiled once: what phone_lib_check says of a number, without its parser
 * of people's spellings and its cache of expressions. Not another opinion: where the library might rewrite a number first,
 * the plan is unsure and the library has to be asked.
 *
 * Thread rule: any thread. The first call compiles; phone_plan_start makes it at start. */
#ifndef TIDE_AUTH_PHONE_PLAN_H
#define TIDE_AUTH_PHONE_PLAN_H

#include "auth/phone_lib.h"

#ifdef __cplusplus
extern "C" {
#endif

enum phone_plan_verdict {
    PHONE_PLAN_VALID = 0,
    PHONE_PLAN_INVALID = 1, /* not valid there, or not of a kind that receives codes */
    PHONE_PLAN_UNSURE = 2,  /* ask phone_lib_check */
};

void phone_plan_start(void);
/* e164: canonical, of phone_canonical. out: set when valid. */
enum phone_plan_verdict phone_plan_check(const char *e164, struct phone_lib_answer *out);

#ifdef __cplusplus
}
#endif

#endif

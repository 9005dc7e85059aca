/* The one place that calls libphonenumber (C++): region and type of a number that is already canonical.
 *
 * Errors: false when the number is not valid there, or is not of a kind that receives codes.
 * Thread rule: any thread; phone_lib_start first. */
#ifndef TIDE_AUTH_PHONE_LIB_H
#define TIDE_AUTH_PHONE_LIB_H

#ifdef __cplusplus
extern "C" {
#endif

struct phone_lib_answer {
    char country[3];  /* ISO 3166 */
    int type;         /* enum phone_type */
    int country_code; /* 852 */
};

void phone_lib_start(void);
int phone_lib_check(const char *e164, struct phone_lib_answer *out); /* 1 valid, 0 not */

#ifdef __cplusplus
}
#endif

#endif

#include "status/ladder.h"

static const struct {
    const char *indicator;
    enum incident_impact impact;
    const char *description[STATUS_LANGS];
} rows[] = {
    [LADDER_OPERATIONAL] = {"none",
                            IMPACT_NONE,
                            {"All Systems Operational", "所有系统运行正常", "所有系統運作正常"}},
    [LADDER_MAINTENANCE] = {"maintenance",
                            IMPACT_NONE,
                            {"Service Under Maintenance", "服务维护中", "服務維護中"}},
    [LADDER_STALE] = {"minor", IMPACT_MINOR, {"Status Data Out of Date", "状态数据已过时", "狀態資料已過時"}},
    [LADDER_PARTIALLY_DEGRADED] = {"minor",
                                   IMPACT_MINOR,
                                   {"Partially Degraded Service", "部分服务受限", "部分服務受限"}},
    [LADDER_DEGRADED] = {"minor", IMPACT_MINOR, {"Degraded System Service", "服务性能下降", "服務效能下降"}},
    [LADDER_MINOR_OUTAGE] = {"minor", IMPACT_MINOR, {"Minor Service Outage", "少数服务中断", "少數服務中斷"}},
    [LADDER_PARTIAL_OUTAGE] = {"major",
                               IMPACT_MAJOR,
                               {"Partial System Outage", "部分系统中断", "部分系統中斷"}},
    [LADDER_MAJOR_OUTAGE] = {"critical",
                             IMPACT_CRITICAL,
                             {"Major System Outage", "系统大面积中断", "系統大規模中斷"}},
};

enum ladder_state ladder_of_components(const unsigned counts[COMPONENT_STATUS_COUNT])
{
    unsigned all = 0;
    for (int s = 0; s < COMPONENT_STATUS_COUNT; s++) {
        all += counts[s];
    }
    if (all == 0) {
        return LADDER_OPERATIONAL;
    }
    if (counts[COMPONENT_MAJOR_OUTAGE] == all) {
        return LADDER_MAJOR_OUTAGE;
    }
    if (counts[COMPONENT_MAJOR_OUTAGE] || counts[COMPONENT_PARTIAL_OUTAGE] == all) {
        return LADDER_PARTIAL_OUTAGE;
    }
    if (counts[COMPONENT_PARTIAL_OUTAGE]) {
        return LADDER_MINOR_OUTAGE;
    }
    if (counts[COMPONENT_DEGRADED]) {
        return counts[COMPONENT_DEGRADED] == all ? LADDER_DEGRADED : LADDER_PARTIALLY_DEGRADED;
    }
    return counts[COMPONENT_UNDER_MAINTENANCE] ? LADDER_MAINTENANCE : LADDER_OPERATIONAL;
}

enum ladder_state ladder_raise(enum ladder_state s, enum incident_impact worst_open, bool is_stale)
{
    static const enum ladder_state at_least[] = {
        [IMPACT_NONE] = LADDER_OPERATIONAL,
        [IMPACT_MINOR] = LADDER_PARTIALLY_DEGRADED,
        [IMPACT_MAJOR] = LADDER_PARTIAL_OUTAGE,
        [IMPACT_CRITICAL] = LADDER_MAJOR_OUTAGE,
    };
    if (rows[s].impact < worst_open) {
        s = at_least[worst_open];
    }
    return is_stale && rows[s].impact == IMPACT_NONE ? LADDER_STALE : s;
}

const char *ladder_indicator(enum ladder_state s)
{
    return rows[s].indicator;
}

const char *ladder_description(enum ladder_state s, enum problem_lang lang)
{
    return rows[s].description[lang];
}

enum incident_impact ladder_impact(enum ladder_state s)
{
    return rows[s].impact;
}

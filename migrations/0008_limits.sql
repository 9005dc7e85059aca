-- Limits that an operator changed for a while: in force on every gateway until `until`, then the configuration's again.

ALTER TABLE versions ADD COLUMN limits bigint NOT NULL DEFAULT 1;

CREATE OR REPLACE FUNCTION versions_bump(p_subject text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    CASE p_subject
        WHEN 'policy' THEN UPDATE versions SET policy = policy + 1;
        WHEN 'bans' THEN UPDATE versions SET bans = bans + 1;
        WHEN 'revocations' THEN UPDATE versions SET revocations = revocations + 1;
        WHEN 'keys' THEN UPDATE versions SET keys = keys + 1;
        WHEN 'ladder' THEN UPDATE versions SET ladder = ladder + 1;
        WHEN 'workers' THEN UPDATE versions SET workers = workers + 1;
        WHEN 'limits' THEN UPDATE versions SET limits = limits + 1;
        ELSE RAISE EXCEPTION 'versions has no subject %', p_subject USING ERRCODE = '22023';
    END CASE;
END
$$;

CREATE TABLE limit_overrides (
    rule   text PRIMARY KEY CHECK (rule ~ '^[a-z0-9_]{1,32}$'),
    amount text NOT NULL, -- as in the configuration: '5/1h'
    burst  text NOT NULL, -- likewise; '' = as many as amount says
    until  timestamptz NOT NULL,
    reason text NOT NULL,
    actor  text NOT NULL
);
GRANT SELECT ON limit_overrides TO tidegate_app;

-- Puts a limit in force for p_ttl_ms (checked by the caller, who knows the rules), or with p_ttl_ms 0 takes it back;
-- with its audit row.
CREATE FUNCTION limit_override_set(p_rule text, p_amount text, p_burst text, p_ttl_ms bigint, p_reason text,
                                   p_actor text, p_request_id text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    IF coalesce(p_actor, '') = '' OR coalesce(p_reason, '') = '' THEN
        RAISE EXCEPTION 'a change of limits wants an actor and a reason' USING ERRCODE = '22023';
    END IF;
    DELETE FROM limit_overrides WHERE rule = p_rule OR until < now();
    IF p_ttl_ms > 0 THEN
        INSERT INTO limit_overrides VALUES (p_rule, p_amount, p_burst, now() + p_ttl_ms * interval '1 millisecond',
                                            p_reason, p_actor);
    END IF;
    INSERT INTO audit (actor, action, target, reason, request_id, detail)
        VALUES (p_actor, CASE WHEN p_ttl_ms > 0 THEN 'limit.set' ELSE 'limit.reset' END, 'limit/' || p_rule, p_reason,
                coalesce(p_request_id, ''),
                jsonb_build_object('limit', p_amount, 'burst', p_burst, 'ttl_ms', p_ttl_ms));
    PERFORM versions_bump('limits');
END
$$;
GRANT EXECUTE ON FUNCTION limit_override_set(text, text, text, bigint, text, text, text) TO tidegate_app;

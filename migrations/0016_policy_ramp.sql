-- A policy that comes into force in stages: 1, 5, 25, 100 percent of the people. Stepped by whichever gateway asks first,
-- inside a transaction that holds its row; every stage is a policy version like any other.

CREATE TABLE policy_ramps (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    state      text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'paused', 'held', 'done', 'reverted',
                                                                'aborted', 'replaced')),
    note       text NOT NULL DEFAULT '',  -- why it stands, or has ended
    name       text NOT NULL,
    candidate  json NOT NULL,             -- the document of the last stage
    base       bigint NOT NULL REFERENCES policy_versions, -- what was in force before
    version    bigint NOT NULL REFERENCES policy_versions, -- of the stage in force
    stages     integer[] NOT NULL CHECK (cardinality(stages) > 0), -- hundredths of a percent, rising to 10000
    stage      integer NOT NULL DEFAULT 1, -- which of them, from 1
    every_ms   bigint NOT NULL CHECK (every_ms > 0),
    reverts    boolean NOT NULL,          -- on a bad signal: back to base; else it stands
    actor      text NOT NULL,
    reason     text NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    moved_at   timestamptz NOT NULL DEFAULT now(), -- into the stage, or on again
    next_at    timestamptz NOT NULL,
    ended_at   timestamptz
);
CREATE UNIQUE INDEX policy_ramps_one ON policy_ramps ((true)) WHERE ended_at IS NULL;
GRANT SELECT, INSERT, UPDATE ON policy_ramps TO tidegate_app;

-- What lies over a ramp's stage for a time goes back to what was before the ramp, not to the stage. The stage is known
-- by its document: between two changes for a time it has come back under another version. TG002: nothing lies over it.
CREATE FUNCTION policy_ramp_uncover(p_ramp bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM FROM policy_current c FOR UPDATE;
    UPDATE policy_pending w SET back_to = r.base
        FROM policy_ramps r JOIN policy_versions stage ON stage.version = r.version, policy_versions back
        WHERE r.id = p_ramp AND w.kind = 'revert' AND back.version = w.back_to
          AND back.document::text = stage.document::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'policy_conflict: the policy has just changed' USING ERRCODE = 'TG002';
    END IF;
END
$$;
GRANT EXECUTE ON FUNCTION policy_ramp_uncover(bigint) TO tidegate_app;

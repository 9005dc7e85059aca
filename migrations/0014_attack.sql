-- The attack ladder: one row that says where it stands, and what each gateway has seen lately. Moved by the gateway
-- that holds its advisory lock, or by an operator; both inside a transaction that holds the row.

CREATE TABLE attack_ladder (
    only_row      boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    level         integer NOT NULL DEFAULT 0 CHECK (level BETWEEN 0 AND 4),
    is_manual     boolean NOT NULL DEFAULT false,
    until         timestamptz,               -- of a level set by hand; NULL: until somebody says otherwise
    reason        text NOT NULL DEFAULT '',
    actor         text NOT NULL DEFAULT '',
    since         timestamptz NOT NULL DEFAULT now(),
    version       bigint NOT NULL DEFAULT 0, -- of the policy that the ladder put in force; 0: none
    -- what the decision remembers (ratelimit/attack_ladder.h)
    hot_s         double precision NOT NULL DEFAULT 0,
    very_hot_s    double precision NOT NULL DEFAULT 0,
    calm_s        double precision NOT NULL DEFAULT 0,
    level_s       double precision NOT NULL DEFAULT 0,
    moves         double precision NOT NULL DEFAULT 0,
    rate_at_entry double precision NOT NULL DEFAULT 0,
    baseline      double precision NOT NULL DEFAULT 0,
    ticked_at     timestamptz NOT NULL DEFAULT now()
);
INSERT INTO attack_ladder DEFAULT VALUES;
GRANT SELECT, UPDATE ON attack_ladder TO tidegate_app;

-- A minute's worth, as each gateway counted it. A row that is old counts no more.
CREATE TABLE attack_signals (
    instance text PRIMARY KEY,
    at       timestamptz NOT NULL,
    attempts double precision NOT NULL,
    refused  double precision NOT NULL,
    tried    double precision NOT NULL,
    verified double precision NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON attack_signals TO tidegate_app;

-- The attack ladder tells the public by an incident of its own; and code requests that failed on our side are a signal.

ALTER TABLE status_incidents DROP CONSTRAINT status_incidents_origin_check;
ALTER TABLE status_incidents ADD CONSTRAINT status_incidents_origin_check
    CHECK (origin IN ('probes', 'policy', 'attack'));

ALTER TABLE attack_signals ADD COLUMN failed double precision NOT NULL DEFAULT 0;

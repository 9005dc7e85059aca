-- What tide-status keeps: components, incidents with their updates, uptime by day. Its role reads the public notices
-- and nothing of accounts. Writers are chosen by an advisory lock; every write can be repeated.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tidegate_status') THEN
        CREATE ROLE tidegate_status LOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL; -- another database of this cluster was migrated at the same moment
END
$$;

GRANT USAGE ON SCHEMA public TO tidegate_status;
GRANT SELECT ON schema_migrations, status_notices TO tidegate_status;

CREATE TABLE status_components (
    code       text PRIMARY KEY CHECK (code ~ '^[a-z0-9]{12}$'),
    key        text NOT NULL UNIQUE, -- login, model:NAME
    status     text NOT NULL CHECK (status IN ('operational', 'under_maintenance', 'degraded_performance',
                                               'partial_outage', 'major_outage')),
    updated_at timestamptz NOT NULL
);

CREATE TABLE status_incidents (
    code          text PRIMARY KEY CHECK (code ~ '^[a-z0-9]{12}$'),
    origin        text NOT NULL CHECK (origin IN ('probes', 'policy')),
    status        text NOT NULL CHECK (status IN ('investigating', 'identified', 'monitoring', 'resolved',
                                                  'postmortem')),
    impact        text NOT NULL CHECK (impact IN ('none', 'minor', 'major', 'critical')),
    name          jsonb NOT NULL, -- {"en": ..., "zh-Hans": ..., "zh-Hant": ...}
    components    jsonb NOT NULL, -- codes of all components it touched
    started_at    timestamptz NOT NULL,
    updated_at    timestamptz NOT NULL,
    monitoring_at timestamptz,
    resolved_at   timestamptz
);
CREATE INDEX status_incidents_started ON status_incidents (started_at DESC);

CREATE TABLE status_incident_updates (
    id       text PRIMARY KEY CHECK (id ~ '^[a-z0-9]{12}$'),
    incident text NOT NULL REFERENCES status_incidents ON DELETE CASCADE,
    status   text NOT NULL,
    body     jsonb NOT NULL, -- as name
    changes  jsonb NOT NULL, -- [{"code", "name", "before", "after"}]
    at       timestamptz NOT NULL
);
CREATE INDEX status_incident_updates_of ON status_incident_updates (incident, at);

-- Seconds of a UTC day; they only grow.
CREATE TABLE status_uptime_days (
    component text NOT NULL REFERENCES status_components ON DELETE CASCADE,
    day       integer NOT NULL, -- days since 1970-01-01
    watched   double precision NOT NULL,
    degraded  double precision NOT NULL,
    partial   double precision NOT NULL,
    major     double precision NOT NULL,
    PRIMARY KEY (component, day)
);

GRANT SELECT, INSERT, UPDATE ON status_components, status_incidents, status_incident_updates, status_uptime_days
    TO tidegate_status;
GRANT SELECT ON status_components, status_incidents, status_incident_updates, status_uptime_days TO tidegate_app;

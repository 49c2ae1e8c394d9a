PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE drafts (
        job INTEGER PRIMARY KEY REFERENCES jobs ON DELETE CASCADE,
        command TEXT NOT NULL
    );
INSERT INTO "drafts" VALUES(2,'half a command');
CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        seed TEXT NOT NULL,
        owner TEXT NOT NULL,
        "group" TEXT NOT NULL,
        mode INTEGER NOT NULL,
        schedule TEXT NOT NULL,
        command TEXT NOT NULL,
        options TEXT NOT NULL DEFAULT '',
        started INTEGER NOT NULL DEFAULT 0,
        created INTEGER NOT NULL DEFAULT 0,
        changed INTEGER NOT NULL DEFAULT 0,
        started_at INTEGER,
        version INTEGER NOT NULL DEFAULT 0,
        watermark INTEGER,
        anchor INTEGER,
        last_run INTEGER NOT NULL DEFAULT 0,
        runs_total INTEGER NOT NULL DEFAULT 0,
        failures INTEGER NOT NULL DEFAULT 0,
        last_success INTEGER
    );
INSERT INTO "jobs" VALUES(1,'five','five','glenda','users',457,'*/5 8-18 * * MON-FRI','true','',1,1767139200000000000,1767139200000000000,1767139200000000000,1,1767225570,NULL,9,7,4,1767225600000000000);
INSERT INTO "jobs" VALUES(2,'six','six','glenda','users',457,'0 0 1 1 * 2030','true','',0,1767139200000000000,1767139200000000000,NULL,0,NULL,NULL,0,0,0,NULL);
INSERT INTO "jobs" VALUES(3,'seven','seven','glenda','users',457,'0/30 * * * * ? *','true','',1,1767139200000000000,1767139200000000000,1767139200000000000,1,1767225570,NULL,0,0,0,NULL);
INSERT INTO "jobs" VALUES(4,'spread','its-first-name','glenda','users',457,'H H * * *','true','',1,1767139200000000000,1767139200000000000,1767139200000000000,2,1767225570,NULL,0,0,0,NULL);
INSERT INTO "jobs" VALUES(5,'alias','alias','glenda','users',457,'@daily','true','',1,1767139200000000000,1767139200000000000,1767139200000000000,1,1767225570,NULL,0,0,0,NULL);
INSERT INTO "jobs" VALUES(6,'every','every','glenda','users',457,'@every 90s','true','',1,1767139200000000000,1767139200000000000,1767139200000000000,1,1767225570,1767139207,0,0,0,NULL);
INSERT INTO "jobs" VALUES(7,'at','at','glenda','users',457,'@at 2026-12-24T1800','true','',1,1767139200000000000,1767139200000000000,1767139200000000000,1,1767225570,NULL,0,0,0,NULL);
INSERT INTO "jobs" VALUES(8,'past','past','glenda','users',457,'@at 2025-12-24T1800','true','',0,1767139200000000000,1767139200000000000,NULL,0,NULL,NULL,0,0,0,NULL);
INSERT INTO "jobs" VALUES(9,'boot','boot','glenda','users',457,'@reboot','true','',1,1767139200000000000,1767139200000000000,1767139200000000000,1,1767225570,NULL,0,0,0,NULL);
INSERT INTO "jobs" VALUES(10,'empty','empty','glenda','users',457,'','','',0,1767139200000000000,1767139200000000000,NULL,0,NULL,NULL,0,0,0,NULL);
INSERT INTO "jobs" VALUES(11,'long','long','glenda','users',457,'@hourly','cat <<''END''
naïve: ''quoted''	and\n

END
xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx','',0,1767139200000000000,1767139200000000000,NULL,0,NULL,NULL,0,0,0,NULL);
INSERT INTO "jobs" VALUES(12,'open','open','bootes','sys',493,'@weekly','true','',0,1767139200000000000,1767139200000000000,NULL,3,NULL,NULL,0,0,0,NULL);
INSERT INTO "jobs" VALUES(13,'all-options','all-options','glenda','users',457,'30 2 * * *','true','description two words
timezone Europe/Berlin
dst skip
catchup all 3
deadline 2h
overlap queue 4
timeout 30s
grace 5s
retries 2
retry-delay 20s
jitter 10s
dir /var/tmp
shell /bin/bash
env COLOUR=grün
env EMPTY=
umask 077
nice 5
limit nofile 64
keep-log 65536
keep-runs 20
max-output 4096
on-failure echo $JOBD_JOB failed
',1,1767139200000000000,1767139200000000000,1767139200000000000,1,1767225570,NULL,0,0,0,NULL);
CREATE TABLE meta (
        key TEXT PRIMARY KEY,
        value TEXT NOT NULL
    );
INSERT INTO "meta" VALUES('paused','0');
INSERT INTO "meta" VALUES('resumed','1767052800');
INSERT INTO "meta" VALUES('guard','0');
INSERT INTO "meta" VALUES('boot_id','boot 1');
CREATE TABLE runs (
        job INTEGER NOT NULL REFERENCES jobs ON DELETE CASCADE,
        number INTEGER NOT NULL,
        scheduled INTEGER,
        started INTEGER,
        ended INTEGER,
        exit INTEGER,
        signal INTEGER,
        outcome TEXT,
        attempts INTEGER NOT NULL DEFAULT 0,
        cpu REAL,
        maxrss INTEGER,
        pid INTEGER,
        pid_start INTEGER,
        boot_id TEXT,
        run_id TEXT NOT NULL DEFAULT '',
        argv TEXT NOT NULL DEFAULT '',
        directory TEXT NOT NULL DEFAULT '',
        environment TEXT NOT NULL DEFAULT '',
        detail TEXT NOT NULL DEFAULT '',
        missed_to INTEGER,
        missed_count INTEGER
    );
INSERT INTO "runs" VALUES(1,1,1767139260,1767139260000000000,1767139260500000000,0,NULL,'ok',1,0.25,1024,NULL,NULL,NULL,'00000000000000000000000000000001','["/bin/sh", "-c", "true"]','/','{"HOME": "/", "JOBD_JOB": "five"}','',NULL,NULL);
INSERT INTO "runs" VALUES(1,2,NULL,1767139320000000000,1767139320500000000,0,NULL,'ok',3,0.25,1024,NULL,NULL,NULL,'00000000000000000000000000000002','["/bin/sh", "-c", "true"]','/','{"HOME": "/", "JOBD_JOB": "five"}','',NULL,NULL);
INSERT INTO "runs" VALUES(1,3,1767139380,1767139380000000000,1767139380500000000,3,NULL,'failed',1,0.25,1024,NULL,NULL,NULL,'00000000000000000000000000000003','["/bin/sh", "-c", "true"]','/','{"HOME": "/", "JOBD_JOB": "five"}','exit status 3',NULL,NULL);
INSERT INTO "runs" VALUES(1,4,1767139440,1767139440000000000,1767139440500000000,NULL,15,'timeout',1,0.25,1024,NULL,NULL,NULL,'00000000000000000000000000000004','["/bin/sh", "-c", "true"]','/','{"HOME": "/", "JOBD_JOB": "five"}','after 30s',NULL,NULL);
INSERT INTO "runs" VALUES(1,5,1767139500,1767139500000000000,1767139500500000000,NULL,9,'killed',1,0.25,1024,NULL,NULL,NULL,'00000000000000000000000000000005','["/bin/sh", "-c", "true"]','/','{"HOME": "/", "JOBD_JOB": "five"}','by glenda: naïve',NULL,NULL);
INSERT INTO "runs" VALUES(1,6,1767139560,1767139560000000000,1767139560500000000,NULL,NULL,'lost',1,0.25,1024,NULL,NULL,NULL,'00000000000000000000000000000006','["/bin/sh", "-c", "true"]','/','{"HOME": "/", "JOBD_JOB": "five"}','the daemon was away',NULL,NULL);
INSERT INTO "runs" VALUES(1,7,1767139620,NULL,1767139620500000000,NULL,NULL,'skipped',0,NULL,NULL,NULL,NULL,NULL,'00000000000000000000000000000007','','/','','run 6 is in progress',NULL,NULL);
INSERT INTO "runs" VALUES(1,8,1767139680,NULL,1767139680500000000,NULL,NULL,'missed',0,NULL,NULL,NULL,NULL,NULL,'00000000000000000000000000000008','','/','','',1767140100,7);
INSERT INTO "runs" VALUES(1,9,1767139740,1767139740000000000,NULL,NULL,NULL,NULL,1,NULL,NULL,4242,7,'an earlier boot','00000000000000000000000000000009','["/bin/sh", "-c", "true"]','/','{"HOME": "/", "JOBD_JOB": "five"}','',NULL,NULL);
CREATE UNIQUE INDEX runs_of_job ON runs (job, number);
CREATE INDEX runs_unfinished ON runs (job, number) WHERE outcome IS NULL;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('jobs',14);
COMMIT;

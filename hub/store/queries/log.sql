-- name: envelopes
select batch_no, envelope from batch where batch_no > %(after)b::bigint order by batch_no limit %(page)b::integer

-- name: observations
select count(*) from observation

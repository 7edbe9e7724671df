-- Whom a visitor or a merged customer is, chains of merges followed to their end.
-- Inputs: links (links.sql), chains (from, root: the links whose target is linked on). Grain: one row an anonymous_id.
SELECT l.anonymous_id AS id, coalesce(c.root, l.customer_id) AS root
FROM links l
LEFT JOIN chains c ON c.id = l.customer_id
WHERE coalesce(c.root, l.customer_id) <> l.anonymous_id

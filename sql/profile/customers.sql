-- The day's customers, whole. They are put in order by their number: nothing as wide as a customer is sorted.
-- Inputs: people, numbered. Grain: one row a customer, in any order.
SELECT arrow_cast(n.customer_no, 'UInt32') AS customer_no, p.* EXCEPT (left_out)
FROM numbered n
JOIN people p ON p.customer_id = n.customer_id

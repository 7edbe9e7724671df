-- Buyers by what they paid: those who paid the same on as many days, counted.
-- Inputs: buyers. Grain: one row a number of paid order days and their sum. As of: the day that buyers describes.
SELECT paid_days, spend, count(*) AS buyers
FROM buyers
WHERE paid_days > 0 AND spend > 0
GROUP BY paid_days, spend

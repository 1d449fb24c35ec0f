import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

/** Transactions of five records, each second one aborted: bootstrap server, topic, how many. */
public class Transactions {
    public static void main(String[] arguments) throws Exception {
        String topic = arguments[1];
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("transactional.id", "transactions-" + topic);
        settings.put("compression.type", "zstd");
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new StringSerializer())) {
            int partitions = producer.partitionsFor(topic).size();
            producer.initTransactions();
            for (int number = 0; number < Integer.parseInt(arguments[2]); number++) {
                producer.beginTransaction();
                for (int record = 0; record < 5; record++) {
                    String value = number + "/" + record;
                    producer.send(new ProducerRecord<>(topic, number / 2 % partitions, "" + number, value));
                }
                producer.flush();
                if (number % 2 == 0) {
                    producer.commitTransaction();
                    System.out.println(number);
                } else {
                    producer.abortTransaction();
                }
            }
        }
    }
}

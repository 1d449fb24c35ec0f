import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Numbered records with schema id 5, each delivered exactly once or the program fails: bootstrap server,
 * topic, how many a second, and the file that ends it when it appears.
 */
public class Counted {
    public static void main(String[] arguments) throws Exception {
        double rate = Double.parseDouble(arguments[2]);
        Path end = Path.of(arguments[3]);
        int number = 0;
        Properties settings = new Properties();
        settings.put("bootstrap.servers", arguments[0]);
        settings.put("enable.idempotence", "true");
        settings.put("acks", "all");
        settings.put("compression.type", "lz4");
        settings.put("linger.ms", "5");
        settings.put("request.timeout.ms", "10000");
        settings.put("delivery.timeout.ms", "120000");
        var failure = new AtomicReference<Exception>();
        var serializer = new ByteArraySerializer();
        try (var producer = new KafkaProducer<>(settings, serializer, serializer)) {
            int partitions = producer.partitionsFor(arguments[1]).size();
            long begun = System.nanoTime();
            for (; failure.get() == null; number++) {
                if (number % 1000 == 0) {
                    System.out.println("at " + number);
                    if (Files.exists(end)) break;
                }
                byte[] value = ByteBuffer.allocate(9).put((byte) 0).putInt(5).putInt(number).array();
                producer.send(new ProducerRecord<>(arguments[1], number % partitions, null, value), (it, why) -> {
                    if (why != null) failure.compareAndSet(null, why);
                });
                long due = begun + (long) (number / rate * 1e9);
                while (System.nanoTime() < due) Thread.sleep(1);
            }
        }
        if (failure.get() != null) throw failure.get();
        System.out.println("delivered all of " + number);
    }
}
